import { createTokenRotator } from "@token-rotator/axios";

createTokenRotator({
  baseURL: "https://api.example.com",
  refreshEndpoint: "/v2/token/refresh",
  onRefreshSuccess: (data) => data.token,
});
