// What the README's examples take from the program around them without declaring it. Everything else
// in this folder stands as in that README, but for the name in the import, an import where the
// example leaves it out, and the options in place of the `...` of `limited-exposure.ts`.
declare const loginResponse: { accessToken: string };
declare function updateAllSocketAuth(token: string): void;
interface RefreshResponse {
  accessToken: string;
  wsToken: string;
}
