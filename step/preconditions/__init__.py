"""Images and checks become a permission: what must be true of an image before it is signed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TypeAlias

from step.cloud.connection import Connection
from step.concurrency import side_by_side
from step.errors import BadInput, StepError
from step.events import Failure, Passed, Progress
from step.model.image import ImageRef
from step.preconditions.build import BuildCheck
from step.preconditions.scan import ScanCheck

Check: TypeAlias = ScanCheck | BuildCheck


def check(
    images: Sequence[ImageRef], checks: Sequence[Check], connection: Connection
) -> Iterator[Progress | Passed | Failure]:
    """Hold every check against every image, images side by side; a Failure is a no.

    Every check of an image is made, also after a no, so that all that is wrong is told at once.
    Raises BadInput for an empty list: nothing that was checked is not a yes.
    """
    if not images or not checks:
        raise BadInput("there is nothing to check", "Name at least one image and one check.")
    yield from side_by_side(_checked(image, checks, connection) for image in dict.fromkeys(images))


def _checked(
    image: ImageRef, checks: Sequence[Check], connection: Connection
) -> Iterator[Progress | Passed | Failure]:
    for precondition in checks:
        try:
            grounds = yield from precondition.check(image, connection)
            yield Passed(image, precondition.name, grounds)
        except StepError as error:
            yield Failure(image, None, error)
