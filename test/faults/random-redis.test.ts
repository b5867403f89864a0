import { onRedis } from "./cluster/on-each-engine.js";
import { underRandomFaults } from "./cluster/random-faults.js";

onRedis("random faults under load", underRandomFaults);
