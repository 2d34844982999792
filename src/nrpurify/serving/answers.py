"""The answers of the API as they are written into JSON, with examples for its description."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field


class ClassScore(BaseModel):
    """A class of a classifier."""

    index: int = Field(examples=[281])
    name: str = Field(examples=["tabby"])
    probability: float = Field(ge=0, le=1, examples=[0.83])


class Box(BaseModel):
    """An object that a detector found; sides in pixels of the image as sent."""

    left: float = Field(examples=[12.5])
    top: float = Field(examples=[30.0])
    right: float = Field(examples=[200.0])
    bottom: float = Field(examples=[180.5])
    score: float = Field(ge=0, le=1, examples=[0.91])
    name: str = Field(examples=["cat"])


class Prediction(BaseModel):
    """What a victim predicts for one image."""

    victim: str = Field(examples=["efficientnet_lite0"])
    task: Literal["classify", "detect"] = Field(examples=["classify"])
    classes: list[ClassScore] = Field(description="Most likely first; empty for detectors.")
    boxes: list[Box] = Field(description="Best first; empty for classifiers.")


class Predicted(Prediction):
    """A prediction behind a purifier."""

    purifier: str | None = Field(examples=["fast"], description="null without a purifier.")
    gate: float | None = Field(examples=[0.98])
    seconds: float = Field(examples=[0.09])


class Purified(BaseModel):
    """A purified image in JSON."""

    image: str = Field(description="The PNG file in base64.", examples=["iVBORw0KGgo..."])
    width: int = Field(examples=[640])
    height: int = Field(examples=[480])
    purifier: str = Field(examples=["fast"])
    gate: float | None = Field(
        description="Share, in [0, 1], of the strength beyond the plain correction that the gate "
        "gave the image. null for purifiers without a gate.",
        examples=[0.98],
    )
    seconds: float = Field(
        description="Time from the whole upload to the answer, waiting included.", examples=[0.09]
    )


class PurifierInfo(BaseModel):
    """A purifier that the server was started with."""

    name: str = Field(examples=["fast"])
    default: bool
    parameters: int = Field(examples=[1234567])
    gated: bool
    sha256: str = Field(description="Of the weights.")
    precision: str = Field(examples=["fp32"])


class VictimInfo(BaseModel):
    """A victim that the server was started with."""

    name: str = Field(examples=["efficientnet_lite0"])
    task: Literal["classify", "detect"]


class Limits(BaseModel):
    """Limits of the server."""

    max_bytes: int
    max_pixels: int
    media_types: list[str]
    attack: bool = Field(description="Whether /v1/attack exists.")
    max_eps: float
    max_steps: int
    attack_side: int


class Models(BaseModel):
    """All that requests may name, and the limits."""

    title: str
    version: str
    purifiers: list[PurifierInfo]
    victims: list[VictimInfo]
    limits: Limits


class Attacked(BaseModel):
    """An attack on one image, and what became of it behind the purifier."""

    attack: str = Field(examples=["ssp"])
    eps: float = Field(examples=[0.0627])
    steps: int = Field(examples=[10])
    purifier: str = Field(examples=["fast"])
    width: int = Field(description="Of the four images; larger ones are reduced first.")
    height: int
    clean: str = Field(description="PNG file in base64.")
    attacked: str = Field(description="PNG file in base64.")
    difference: str = Field(
        description="attacked - clean around middle gray, PNG file in base64; -eps is black."
    )
    purified: str = Field(description="PNG file in base64.")
    gate: float | None
    largest_change: float = Field(description="Of any value, in 255ths.", examples=[16.0])
    answers: dict[str, list[Prediction]] = Field(
        description="What each victim predicts for the images `clean`, `attacked` and `purified`."
    )
    summary: str = Field(description="What the pictures show, in plain sentences.")
    seconds: float


class Progress(BaseModel):
    """An event of a running attack."""

    stage: Literal["waiting", "attack", "answers"]
    step: int
    steps: int


class ProblemBody(BaseModel):
    """A refusal, as RFC 9457 names its parts."""

    model_config = ConfigDict(title="Problem")

    type: str = Field(examples=["about:blank"])
    title: str = Field(examples=["Content Too Large"])
    status: int = Field(examples=[413])
    detail: str = Field(
        examples=["the image has 9000×9000 = 81,000,000 pixels; the limit is 16,000,000"]
    )
    request_id: str = Field(examples=["0f8fad5bd9cb469fa16570867728950e"])
