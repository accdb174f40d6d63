import { createTokenRotator } from "@token-rotator/axios";

interface RefreshResponse {
  accessToken: string;
  wsToken: string;
}

const { api, setAccessToken } = createTokenRotator<RefreshResponse>({
  baseURL: "https://api.example.com",

  onRefreshSuccess: (data) => data.accessToken,  // ✅ data is RefreshResponse
  onAfterRefresh:   (data) => {                  // ✅ data is RefreshResponse
    localStorage.setItem("wsToken", data.wsToken);
  },

  onRefreshFailed: () => {
    window.location.href = "/login";
  },
});
