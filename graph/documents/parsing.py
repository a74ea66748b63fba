"""Parsing of documents of limited size.

InvalidDocument is raised for any document that cannot be executed.
"""

from collections.abc import Iterable
from contextlib import suppress
from typing import Any, Final

from graphql import (
    DocumentNode,
    GraphQLError,
    GraphQLSyntaxError,
    Lexer,
    Node,
    Source,
    Token,
    TokenKind,
    parse,
)

from graph.api.errors import MAX_ERRORS, client_message, truncate
from graph.documents.limits import Limits, exceeded

_NO_TOKEN: Final = Token(TokenKind.SOF, 0, 0, 0, 0)


class InvalidDocument(Exception):
    """The document cannot be executed. Each error has a code in its `extensions`."""

    def __init__(self, errors: Iterable[GraphQLError]) -> None:
        self.errors = list(errors)[:MAX_ERRORS]
        super().__init__(self.errors)


def parse_document(query: str, limits: Limits) -> DocumentNode:
    """Parse a document of limited size. Raises InvalidDocument."""
    if len(query) > limits.characters:
        excess = exceeded("QUERY_TOO_LONG", limits.characters, "A document", "characters")
        raise InvalidDocument([excess])
    try:
        return parse(
            query,
            max_lexical_tokens=limits.tokens,
            max_comments=limits.tokens,
            allow_empty_selection_sets=False,
        )
    except GraphQLSyntaxError as error:
        if _has_more_tokens(query, limits.tokens):
            excess = exceeded("TOO_MANY_TOKENS", limits.tokens, "A document", "tokens")
            raise InvalidDocument([excess]) from None
        raise InvalidDocument([coded(error, "GRAPHQL_PARSE_FAILED")]) from None


def _has_more_tokens(query: str, most: int) -> bool:
    """Return whether more than `most` tokens, or comments, come before the first syntax error."""
    # The parser reports an exceeded limit only in the text of its message.
    lexer = Lexer(Source(query))
    first, words = lexer.token, 0
    with suppress(GraphQLSyntaxError):
        while words <= most and lexer.advance().kind is not TokenKind.EOF:
            words += 1
    comments, token = 0, first.next
    while token:
        comments += token.kind is TokenKind.COMMENT
        token = token.next
    return max(words, comments) > most


def forget_tokens(document: DocumentNode) -> None:
    """Remove the tokens: unused, a third of a tree's memory, and full of reference cycles."""
    nodes: list[Any] = [document]
    for node in nodes:
        if isinstance(node, Node):
            if node.loc is not None:
                node.loc.start_token = node.loc.end_token = _NO_TOKEN
            nodes += [getattr(node, key) for key in node.keys if key != "loc"]
        elif isinstance(node, tuple):
            nodes += node


def coded(error: GraphQLError, code: str) -> GraphQLError:
    """Return a copy of the error with a code. Its message is truncated: it quotes the document."""
    return GraphQLError(
        truncate(client_message(error)),
        error.nodes,
        error.source,
        error.positions,
        extensions={"code": code},
    )
