import { answering } from "./answer.mjs";
import { InstantModel } from "./model.mjs";

/** What the servers on this package's own LangChain use. */
export const AnsweringModel = answering(InstantModel);
