"""Answers in the form that was asked for; refusals too, and always something that can be read.

Objects on the wire: the bytes that Kubernetes' own encoders would write.

Sources: k8s.io/apimachinery/pkg/runtime/serializer/json; sigs.k8s.io/yaml.
"""

import gzip
import json
import re
from collections.abc import Mapping
from typing import Any

import yaml
from starlette.responses import Response

from app.api.negotiation import AS_IT_IS, JSON, YAML, Form, Offer, Wishes, negotiated, not_acceptable
from app.api.status import StatusError

Object = Mapping[str, Any]

_FOR_HTML = {"<": "\\u003c", ">": "\\u003e", "&": "\\u0026", "\u2028": "\\u2028", "\u2029": "\\u2029"}
_FOR_HTML_ONE = re.compile("[<>&\u2028\u2029]")
_NOT_UTF8 = re.compile("[\ud800-\udfff]")

_NEVER_FOLD = 2**31 - 1
_STRING = "tag:yaml.org,2002:str"
_STRINGS = {_STRING, "tag:yaml.org,2002:yaml", "tag:yaml.org,2002:value"}
"""What `*` and `=` are besides is PyYAML's own idea."""
_NOT_A_STRING = re.compile(r"[yYnN]|0o[0-7]+|[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
"""What PyYAML takes for a string, and other readers don't."""

_compact = json.JSONEncoder(separators=(",", ":"), ensure_ascii=False).encode
_indented = json.JSONEncoder(separators=(",", ": "), ensure_ascii=False, indent=2).encode


def encoded(content: Object, media_type: str, *, line_breaks: bool = False) -> bytes:
    """An object as a media type."""
    if media_type == YAML:
        return _yaml(content)
    if line_breaks:
        return _bytes(_indented(content))
    return _bytes(_compact(content) + "\n")


def _bytes(text: str) -> bytes:
    if _FOR_HTML_ONE.search(text):  # Go's encoder keeps JSON harmless inside of a web page
        for mark, escape in _FOR_HTML.items():
            text = text.replace(mark, escape)
    try:
        return text.encode()
    except UnicodeEncodeError:
        return _NOT_UTF8.sub(r"\\ufffd", text).encode()


def _yaml(content: Object) -> bytes:
    plain = json.loads(_bytes(_compact(content)))  # as there: what isn't UTF-8 is replaced on the way through JSON
    return bytes(yaml.dump(plain, Dumper=_Dumper, encoding="utf-8", allow_unicode=True, width=_NEVER_FOLD))


class _Dumper(yaml.CSafeDumper):
    """Writes strings as sigs.k8s.io/yaml does."""

    def ignore_aliases(self, data: Any) -> bool:  # noqa: ARG002 - PyYAML's signature
        """Write everything out."""
        return True

    def string(self, text: str) -> yaml.ScalarNode:
        """Plain where it stays a string, by any YAML's rules."""
        style = None
        if "\n" in text:
            style = "|"
        elif _NOT_A_STRING.fullmatch(text) or self.resolve(yaml.ScalarNode, text, (True, False)) not in _STRINGS:  # type: ignore[no-untyped-call]
            style = '"'
        return self.represent_scalar(_STRING, text, style=style)


_Dumper.add_representer(str, _Dumper.string)


COMPRESSED_FROM = 128 * 1024
"""Bytes: what is longer is compressed for who can read that."""
_COMPRESSION_LEVEL = 1


def form_for(wishes: Wishes, offer: Offer = AS_IT_IS) -> Form:
    """The form that an answer shall have. Raises StatusError 406."""
    form = negotiated(wishes.header(b"accept"), offer)
    if form is None:
        raise not_acceptable()
    return form


def answer(content: Mapping[str, Any], wishes: Wishes) -> Response:
    """An object, as it is. Raises StatusError 406."""
    return answer_in(form_for(wishes), content, wishes)


def answer_in(form: Form, content: Mapping[str, Any], wishes: Wishes) -> Response:
    """An object in a form that was settled before."""
    body = encoded(content, form.media_type, line_breaks=form.pretty or wishes.line_breaks)
    response = Response(body, media_type=form.media_type)
    return compressed(response, wishes) if len(body) > COMPRESSED_FROM else response


def compressed(response: Response, wishes: Wishes) -> Response:
    """The same answer, gzipped if that is accepted."""
    accepted = wishes.headers.get(b"accept-encoding", b"").split(b",")
    if b"gzip" in {token.strip() for token in accepted}:
        gzipped(response)
        response.headers.append("vary", "Accept-Encoding")
    return response


def gzipped(response: Response) -> None:
    """Compress what it has to say."""
    response.body = gzip.compress(response.body, _COMPRESSION_LEVEL, mtime=0)
    response.headers["content-length"] = str(len(response.body))
    response.headers["content-encoding"] = "gzip"


def raw_answer(content: Mapping[str, Any], code: int = 200) -> Response:
    """An object as JSON, whatever was asked for."""
    return Response(encoded(content, JSON, line_breaks=True), code, media_type=JSON)


def refusal(error: StatusError, wishes: Wishes) -> Response:
    """The error as a `Status` object, in JSON where nothing that is accepted can be had."""
    form = negotiated(wishes.header(b"accept"))
    response = raw_answer(error.content) if form is None else answer_in(form, error.content, wishes)
    response.status_code = error.code
    if error.is_about_access:
        response.headers["x-content-type-options"] = "nosniff"
    retry_after_s = (error.details or {}).get("retryAfterSeconds")
    if retry_after_s:
        response.headers["retry-after"] = str(retry_after_s)
    return response
