// HTML that came from a text, made harmless: a second wall behind Markdown without HTML.

import DOMPurify from "dompurify";

const TAGS =
  "a blockquote br button code del div em h1 h2 h3 h4 h5 h6 hr li ol p pre s span strong table tbody td th thead tr ul";

// Of these only `href` is an address.
const PLAIN =
  "class title target rel start type tabindex data-cite data-display data-language data-align";

const ALLOWED = {
  ALLOWED_TAGS: TAGS.split(" "),
  ALLOWED_ATTR: ["href", ...PLAIN.split(" ")],
  ADD_URI_SAFE_ATTR: PLAIN.split(" "),
  ALLOW_DATA_ATTR: false,
  ALLOW_ARIA_ATTR: false,
  ALLOWED_URI_REGEXP: /^(?:https?:|mailto:)/i,
  RETURN_DOM_FRAGMENT: true as const,
};

export function sanitize(html: string): DocumentFragment {
  return DOMPurify.sanitize(html, ALLOWED);
}
