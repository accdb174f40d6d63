import axios from "axios";
import { createTokenRotator } from "@token-rotator/axios";

const myAxios = axios.create({ baseURL: "https://api.example.com" });

const { api, setAccessToken } = createTokenRotator({
  axiosInstance: myAxios,
  onRefreshSuccess: (data) => data.accessToken,
});

// api === myAxios — same reference, interceptors attached in-place
