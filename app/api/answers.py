"""Answers in the form that was asked for; refusals too, and always something that can be read."""

import gzip
from collections.abc import Mapping
from typing import Any

from starlette.responses import Response

from app.api.encoding import encoded
from app.api.negotiation import AS_IT_IS, JSON, Form, Offer, Wishes, negotiated, not_acceptable
from app.api.status import StatusError

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
