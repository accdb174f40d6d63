export { createTokenRotator, type TokenRotator, type TokenRotatorOptions } from "./axios.js";
export { handBackReason } from "./request.js";
export { TokenSession } from "./session.js";
export { type Ending, type HandBackReason, type NewToken, RefreshError, type RotatorEvent, type SessionOptions } from "./types.js";
