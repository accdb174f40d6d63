export { createTokenRotator, type TokenRotator, type TokenRotatorOptions } from "./axios.js";
export { type BodyRule, handBackReason, type RefusalRules } from "./request.js";
export { type Patience, TokenSession } from "./session.js";
export { type Ending, type HandBackReason, type NewToken, type Purpose, RefreshError, type RotatorEvent, type SessionOptions } from "./types.js";
