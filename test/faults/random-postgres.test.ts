import { onPostgres } from "./cluster/on-each-engine.js";
import { underRandomFaults } from "./cluster/random-faults.js";

onPostgres("random faults under load", underRandomFaults);
