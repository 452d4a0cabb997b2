"""What the tables of iterative inference say, in plain words."""


def of_cosines(table) -> str | None:
    """A sentence on `branch_cosines`: whether branches step down the gradient of the loss."""
    known = table.dropna(subset="cosine")
    if not len(known):
        return None
    down, up = known["cosine_low"] > 0, known["cosine_high"] < 0
    last = known.tail(max(1, len(known) // 3))
    says = "undecided in most units"
    if (last["cosine_low"] > 0).all():
        says = "as in the paper, the last units step down the gradient of the loss"
    elif (last["cosine_high"] < 0).all():
        says = "other than in the paper, the last units step up the gradient of the loss"
    return (
        f"{says}: the cosine between branch and negative gradient is "
        f"{known['cosine'].iloc[0]:+.3f} in the first and {known['cosine'].iloc[-1]:+.3f} "
        f"({known['cosine_low'].iloc[-1]:+.3f} to {known['cosine_high'].iloc[-1]:+.3f}) in the "
        f"last of {len(known)} units, above 0 in {down.sum()} and below 0 in {up.sum()} of them "
        f"(95 % intervals over {known['images'].iloc[-1]} images)."
    )


def of_probes(table) -> str:
    """A sentence on `probes`: whether the classes come out unit by unit."""
    units, head = table[table["unit"] != "head"], table[table["unit"] == "head"].iloc[0]
    first, last = units.iloc[0], units.iloc[-1]
    says = "undecided whether depth helps"
    if last["error_high"] < first["error_low"]:
        says = "the classes come out with depth"
    elif last["error_low"] > first["error_high"]:
        says = "the classes get lost with depth"
    falls = (units["error"].diff().dropna() <= 0).mean()
    return (
        f"{says}: a linear probe errs in {first['error']:.1%} of the held-out images behind the "
        f"first unit and in {last['error']:.1%} ({last['error_low']:.1%} to "
        f"{last['error_high']:.1%}) behind the last, the network in {head['error']:.1%}; "
        f"{falls:.0%} of the units leave the error as it is or lower it."
    )
