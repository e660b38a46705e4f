// What a model writes in Markdown, as elements. Nothing of it becomes HTML by itself: tags show as they are written, pictures as links, and
// links are followed only when a person clicks them.

import { Lexer, type MarkedToken, type Token, type Tokens } from 'marked';
import { type ComponentChildren, h } from 'preact';

/** Tokens within tokens: beyond, they show as they are written. */
const DEPTH_LIMIT = 20;

/** @param text as far as it has come */
export default function Markdown({ text }: { text: string }) {
  return <>{shown(tokensOf(text))}</>;
}

// Quotes within quotes can be deeper than the stack is: such a text stays as it is written.
function tokensOf(text: string): Token[] {
  try {
    return Lexer.lex(text, { gfm: true, breaks: true });
  } catch {
    return [{ type: 'text', raw: text, text }];
  }
}

function shown(tokens: readonly Token[], depth = 0): ComponentChildren {
  if (depth > DEPTH_LIMIT) return tokens.map(({ raw }) => raw).join('');
  return tokens.map((token) => element(token as MarkedToken, depth + 1));
}

function element(token: MarkedToken, depth: number): ComponentChildren {
  const within = () => ('tokens' in token && token.tokens ? shown(token.tokens, depth) : textOf(token));
  switch (token.type) {
    case 'space':
    case 'def':
      return null;
    case 'heading':
      return <p class="heading">{within()}</p>; // the page's own headings tell its parts
    case 'paragraph':
      return <p>{within()}</p>;
    case 'blockquote':
      return <blockquote>{within()}</blockquote>;
    case 'strong':
    case 'em':
    case 'del':
      return h(token.type, {}, within());
    case 'codespan':
      return <code>{token.text}</code>;
    case 'code':
      return (
        // biome-ignore lint/a11y/noNoninteractiveTabindex: it scrolls, and keys scroll what has the focus
        <pre tabIndex={0}>
          <code>{token.text}</code>
        </pre>
      );
    case 'br':
      return <br />;
    case 'hr':
      return <hr />;
    case 'link':
      return <Link href={token.href}>{within()}</Link>;
    case 'image':
      return <Link href={token.href}>{token.text || token.href}</Link>;
    case 'list':
      return <List list={token} depth={depth} />;
    case 'table':
      return <Table table={token} depth={depth} />;
    default:
      return within();
  }
}

const textOf = (token: MarkedToken): string => ('text' in token && token.type !== 'html' ? token.text : token.raw);

function Link({ href, children }: { href: string; children: ComponentChildren }) {
  if (!/^(https?|mailto):/i.test(href)) return <>{children}</>;
  return (
    <a href={href} target="_blank" rel="noopener noreferrer">
      {children}
    </a>
  );
}

function List({ list: { ordered, start, items }, depth }: { list: Tokens.List; depth: number }) {
  const rows = items.map((item, i) => <li key={i}>{shown(item.tokens, depth)}</li>);
  return ordered ? <ol start={Number(start) || 1}>{rows}</ol> : <ul>{rows}</ul>;
}

function Table({ table: { header, rows }, depth }: { table: Tokens.Table; depth: number }) {
  return (
    <table>
      <thead>
        <tr>
          {header.map(({ tokens }, i) => (
            <th key={i}>{shown(tokens, depth)}</th>
          ))}
        </tr>
      </thead>
      <tbody>
        {rows.map((row, i) => (
          <tr key={i}>
            {row.map(({ tokens }, j) => (
              <td key={j}>{shown(tokens, depth)}</td>
            ))}
          </tr>
        ))}
      </tbody>
    </table>
  );
}
