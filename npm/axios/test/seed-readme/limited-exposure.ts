import { createTokenRotator } from "@token-rotator/axios";

// lib/api.ts
const { api, setAccessToken, getAccessToken } = createTokenRotator<RefreshResponse>({
  baseURL: "https://api.example.com",
  onRefreshSuccess: (data) => data.accessToken,
});

export { api, getAccessToken };  // setAccessToken NOT exported

export function initSession(token: string) {
  setAccessToken(token);         // only your auth flow can call this
}

export function clearSession() {
  setAccessToken(null);
}
