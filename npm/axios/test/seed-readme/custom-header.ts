import { createTokenRotator } from "@token-rotator/axios";

createTokenRotator({
  baseURL: "https://api.example.com",
  onRefreshSuccess: (data) => data.token,
  applyToken: (config, token) => {
    config.headers["X-Auth-Token"] = token;
  },
});
