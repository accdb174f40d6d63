// What the example with WebSockets takes from the program around it.
export const told: string[] = [];
export const updateAllSocketAuth = (token: string): void => void told.push(token);
