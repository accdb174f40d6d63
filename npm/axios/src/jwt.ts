/** `iat` and `exp` of a JWT, unverified, in seconds; nothing for other tokens. */
export function jwtTimes(token: string): { iat?: number; exp?: number } {
  try {
    const payload = token.split(".")[1]!.replace(/-/g, "+").replace(/_/g, "/");
    const { iat, exp } = JSON.parse(atob(payload)) as Record<string, unknown>;
    return { iat: number(iat), exp: number(exp) };
  } catch {
    return {};
  }
}

function number(value: unknown): number | undefined {
  return typeof value === "number" && value > 0 ? value : undefined;
}
