// lib/api.ts
import { createTokenRotator } from "@token-rotator/axios";
import { updateAllSocketAuth } from "./socketManager";

interface RefreshResponse {
  accessToken: string;
  wsToken: string;
}

export const { api, setAccessToken, getAccessToken } = createTokenRotator<RefreshResponse>({
  baseURL: process.env.NEXT_PUBLIC_API_URL ?? "http://localhost:3001",
  axiosConfig: { withCredentials: true },

  onRefreshSuccess: (data) => data.accessToken,

  onAfterRefresh: (data) => {
    localStorage.setItem("wsToken", data.wsToken);
    updateAllSocketAuth(data.wsToken);
  },

  onRefreshFailed: () => {
    setAccessToken(null);
    localStorage.setItem("wsToken", "");
    window.location.href = "/auth/login";
  },
});

api.defaults.headers.common["X-Requested-With"] = "XMLHttpRequest";
