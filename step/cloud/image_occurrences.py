"""What a project has recorded of an image: its occurrences, of any kind, as the API has them."""

from __future__ import annotations

from collections.abc import Iterator

from grafeas import grafeas_v1

from step.cloud.connection import Connection
from step.cloud.methods import LIST_OCCURRENCES
from step.cloud.pages import pages
from step.model.image import ImageRef
from step.model.names import ProjectName

# The most that a page may hold: grafeas/v1/grafeas.proto, ListOccurrencesRequest.page_size.
PAGE_SIZE = 1000


def recorded(
    connection: Connection, project: ProjectName, image: ImageRef, chosen: str
) -> Iterator[grafeas_v1.Occurrence]:
    """The occurrences of an image's digest that a filter chooses, read page by page as used.

    Whatever the service makes of the filter, of another digest none is returned; of another kind,
    one may be. Needs roles/containeranalysis.occurrences.viewer on the project.
    """
    request = grafeas_v1.ListOccurrencesRequest(
        parent=str(project), filter=chosen, page_size=PAGE_SIZE
    )
    for page in pages(connection, LIST_OCCURRENCES, request, str(project)):
        for occurrence in page.occurrences:
            if occurrence.resource_uri.endswith(f"@{image.digest}"):
                yield occurrence
