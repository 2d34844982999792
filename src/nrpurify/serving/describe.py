"""Parts of the API's description that several routes share."""

from __future__ import annotations

from typing import Any

from nrpurify.serving.answers import ProblemBody
from nrpurify.serving.problems import title_of
from nrpurify.serving.uploads import FIELD, MEDIA_TYPES

_WHEN = {
    401: "The token is missing or wrong.",
    408: "The upload took too long.",
    413: "The upload has too many bytes, or the image too many pixels.",
    415: "The content is none of the image types that are taken.",
    422: "A setting or the image cannot be used.",
    503: "No place is free, or the server is not ready; `Retry-After` has the seconds to wait.",
    504: "There was no answer in time.",
}
_BINARY = {"schema": {"type": "string", "format": "binary"}}
UPLOAD: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "description": f"The image file as it is, or a form with the file in the field `{FIELD}`.",
        "content": {
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "required": [FIELD],
                    "properties": {FIELD: _BINARY["schema"]},
                }
            },
            **dict.fromkeys(MEDIA_TYPES, _BINARY),
        },
    }
}
"""The request body of all routes that take an image."""


def problems(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """The refusals of a route."""
    schema = ProblemBody.model_json_schema()
    return {
        status: {
            "description": f"{title_of(status)}. {_WHEN[status]}",
            "content": {"application/problem+json": {"schema": schema}},
        }
        for status in statuses
    }
