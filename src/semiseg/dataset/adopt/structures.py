"""RT structure sets beside series: outlines as masks."""

from __future__ import annotations

from dataclasses import replace

from semiseg.dataset.adopt.draft import some
from semiseg.dataset.adopt.listing import Listing
from semiseg.images.dicom_structures import Drawn, value_table


def draw_structures(listing: Listing) -> dict[int, str]:
    """Add each RT structure set as the mask of the series that it names.

    Returns:
        value -> structure; the same in all masks.
    """
    series = {e.source.series.uid: e for e in listing.entries if e.source.series is not None}
    here = [(each, shown) for each, shown in listing.structures if each.series in series]
    lost = [shown for each, shown in listing.structures if each.series not in series]
    table = value_table([each for each, _ in here])
    lacking = []
    for each, shown in here:
        scan = series[each.series]
        source = replace(
            scan.source, path=each.path, shown=shown, steps=(Drawn(each.path, tuple(table.items())),)
        )
        listing.entries.append(replace(scan, source=source, shown=shown, role="label", channel=None))
        if absent := [name for name in table if name not in each.names]:
            lacking.append(f"{shown} ({', '.join(absent)})")
    for names, text in (
        ([shown for _, shown in here], "{} RT structure sets are drawn as masks of their series"),
        (lost, "left out {} RT structure sets whose series is not here"),
        (
            lacking,
            "{} RT structure sets lack structures that others have, which are background there "
            "(labeled_classes in dataset.json says that nobody drew them)",
        ),
    ):
        if names:
            listing.notices.append(f"{text.format(len(names))}: {some(names)}")
    return {value: name for name, value in table.items()}
