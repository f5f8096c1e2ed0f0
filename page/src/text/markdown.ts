// The Markdown of answers. HTML in it is text, pictures from elsewhere become links (nothing is
// fetched because a model wrote an address), and citations are marks that the page itself put there.

import makeParser, { type MarkdownIt, type StateCore } from "markdown-it";

import { MARK } from "../core/citations.ts";
import { mathRules } from "./math.ts";

const SAFE = /^(https?:|mailto:)/i;

export function makeMarkdown(): MarkdownIt {
  const md = makeParser({ html: false, linkify: true, breaks: false, typographer: false });
  md.linkify.set({ fuzzyLink: false, fuzzyEmail: false });
  md.validateLink = (url) => SAFE.test(url.trim());
  mathRules(md);
  citationRule(md);

  md.renderer.rules["link_open"] = (tokens, at, options, _env, self) => {
    tokens[at]!.attrSet("target", "_blank");
    tokens[at]!.attrSet("rel", "noopener noreferrer");
    return self.renderToken(tokens, at, options);
  };
  md.renderer.rules["image"] = (tokens, at, _options, env, self) => {
    const token = tokens[at]!;
    const escape = md.utils.escapeHtml;
    const text = self.renderInlineAsText(token.children ?? [], md.options, env);
    const url = String(token.attrGet("src") ?? "");
    const shown = escape(text || url);
    return `<a class="picture-link" href="${escape(url)}" target="_blank" rel="noopener noreferrer">${shown}</a>`;
  };
  md.renderer.rules["fence"] = (tokens, at) => {
    const language = tokens[at]!.info.trim().split(/\s+/)[0] ?? "";
    return codeBlock(md, tokens[at]!.content, language);
  };
  md.renderer.rules["code_block"] = (tokens, at) => codeBlock(md, tokens[at]!.content, "");
  md.renderer.rules["table_open"] = () => '<div class="table" tabindex="0"><table>\n';
  for (const part of ["heading_open", "heading_close"]) {
    md.renderer.rules[part] = (tokens, at, options, _env, self) => {
      // The page has one heading, and each message one below it.
      const token = tokens[at]!;
      token.tag = `h${Math.min(6, Math.max(3, Number(token.tag[1]) + 1))}`;
      return self.renderToken(tokens, at, options);
    };
  }
  for (const cell of ["th_open", "td_open"]) {
    md.renderer.rules[cell] = (tokens, at) => {
      const found = /(left|center|right)/.exec(String(tokens[at]!.attrGet("style") ?? ""));
      return `<${tokens[at]!.tag}${found ? ` data-align="${found[1]}"` : ""}>`;
    };
  }
  md.renderer.rules["table_close"] = () => "</table></div>\n";
  return md;
}

function codeBlock(md: MarkdownIt, code: string, language: string): string {
  const escape = md.utils.escapeHtml;
  return `<pre data-language="${escape(language)}"><code>${escape(code.replace(MARK, ""))}</code></pre>\n`;
}

/** Marks in text become buttons. */
function citationRule(md: MarkdownIt): void {
  md.core.ruler.push("citations", (state) => {
    for (const block of state.tokens) {
      if (block.type !== "inline" || !block.children) continue;
      block.children = block.children.flatMap((token) => {
        if (!token.content.match(MARK)) return [token];
        if (token.type !== "text") {
          // Code and formulas stay whole; their marks follow.
          const marks = token.content.match(MARK) ?? [];
          token.content = token.content.replace(MARK, "");
          return [token, ...marks.map((mark) => markToken(state, mark))];
        }
        return token.content.split(/(\uE000\d+\uE001)/).filter(Boolean).map((part) => {
          if (part.match(MARK)) return markToken(state, part);
          const text = new state.Token("text", "", 0);
          text.content = part;
          return text;
        });
      });
    }
  });
  md.renderer.rules["citation"] = (tokens, at) =>
    `<button type="button" class="cite" data-cite="${tokens[at]!.content}">${tokens[at]!.content}</button>`;
}

function markToken(state: StateCore, mark: string) {
  const token = new state.Token("citation", "", 0);
  token.content = String(Number(mark.slice(1, -1)));
  return token;
}
