// What the example with WebSockets takes from the program around it.
export const tokens: string[] = [];
export const updateAllSocketAuth = (token: string): void => void tokens.push(token);
