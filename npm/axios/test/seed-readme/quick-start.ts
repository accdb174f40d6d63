import { createTokenRotator } from "@token-rotator/axios";

const { api, setAccessToken } = createTokenRotator({
  baseURL: "https://api.example.com",

  // Return the new access token from the refresh response
  onRefreshSuccess: (data) => data.accessToken,

  // Called when refresh fails — clear state and redirect
  onRefreshFailed: () => {
    window.location.href = "/login";
  },
});

// Call after login
setAccessToken(loginResponse.accessToken);

// Use `api` exactly like any axios instance
const { data } = await api.get("/users/me");
