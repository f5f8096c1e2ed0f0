// localStorage and sessionStorage. Browsers may forbid either; then it lasts as long as the page.

type Kept = Pick<Storage, "getItem" | "setItem" | "removeItem">;

function found(name: "localStorage" | "sessionStorage"): Kept {
  try {
    window[name].getItem("");
    return window[name];
  } catch {
    const texts = new Map<string, string>();
    return {
      getItem: (key) => texts.get(key) ?? null,
      setItem: (key, text) => void texts.set(key, text),
      removeItem: (key) => void texts.delete(key),
    };
  }
}

export const local = found("localStorage");
export const session = found("sessionStorage");
