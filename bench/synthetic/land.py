"""Scenes of open land: bare land, farmland, forest, a pond, a beach."""

import math

from bench.synthetic.canvas import Canvas
from bench.synthetic.colours import CONCRETE, DIRT, FOAM, GROUND, MARK, shaded
from bench.synthetic.plan import NUMBERS, PLACES, Plan, be, heading, several
from bench.synthetic.shapes import Dice, Point, blob, curve, evenly, grown, oval, rectangle


def bare_land(dice: Dice) -> Plan:
    soil, place = dice.pick("khaki", "brown", "gray"), dice.pick(*PLACES)
    kind = dice.pick("plane", "house", "car", "tree")
    count = dice.count(1, 1 if kind == "plane" else 3)
    colour = dice.pick("white", "red", "blue") if kind != "tree" else "green"
    way = dice.pick("no", "straight", "curved")
    things = several(count, f"{colour} roofed house" if kind == "house" else f"{colour} {kind}")
    small = several(count, f"small {colour} {kind}") if kind != "house" else things
    road = f"a {way} [gray|grey] road" if way != "no" else "no road"
    are, x0, y0 = be(count), *PLACES[place]

    def paint(canvas: Canvas, throw: Dice) -> None:
        canvas.ground(soil)
        canvas.scrub(260)
        for _ in range(5):  # old wheel tracks
            ends = [(throw.between(-0.1, 1.1), throw.pick(-0.1, 1.1)) for _ in range(2)]
            if ends[0] != ends[1]:
                canvas.line(curve(ends[0], ends[1], 0.06), 0.006, (*shaded(DIRT, 1.15), 70))
        if way != "no":
            y = 0.5 if y0 != 0.5 else throw.pick(0.14, 0.86)
            bend = 0.07 if way == "curved" else 0.0
            canvas.road(curve((-0.1, y - 0.04), (1.1, y + 0.04), bend), 0.045)
        for x, y in throw.spots(count, 0.11, (x0 - 0.12, y0 - 0.12, x0 + 0.12, y0 + 0.12)):
            angle = throw.between(-math.pi, math.pi)
            if kind == "plane":
                canvas.plane(x, y, 0.065, colour, angle)
            elif kind == "house":
                canvas.house(x, y, 0.085, 0.06, colour, angle)
            elif kind == "car":
                canvas.car(x, y, colour, angle, 0.026)
            else:
                canvas.tree(x, y, 0.034, noted=True)

    sentences = [
        f"{things} {are} {place} of a [large|vast] piece of {soil} bareland .",
        f"it is a [large|broad] piece of {soil} bareland with {things} (and {road}) .",
        f"{small} {are} on the {soil} bareland (with {road}) .",
        f"there {are} {things} {place} of the {soil} bare land .",
        f"a [vast|huge] piece of {soil} bareland is almost empty with {things} {place} .",
        f"[only|just] {things} {are} {place} of this {soil} bare land (with {road}) .",
        f"{road} and {small} are on a piece of {soil} bareland .",
    ]
    return Plan(sentences, paint)


def beach(dice: Dice) -> Plan:
    waves, umbrellas, boats = dice.count(1, 3), dice.count(0, 6), dice.count(0, 3)
    water, back = dice.pick("blue", "green", "dark"), dice.pick("trees", "road", "houses")
    shade, colour = dice.pick("red", "blue", "orange"), dice.pick("white", "red")
    turn = heading(dice)
    surf = f"{several(waves, 'row')} of white waves"
    tents = several(umbrellas, f"{shade} umbrella")
    ships = several(boats, f"{colour} boat")
    land, edge = {
        "trees": ("[lush|dense] green trees", 0.83),
        "road": ("a gray road", 0.8),
        "houses": ("a row of gray roofed houses", 0.82),
    }[back]

    def paint(canvas: Canvas, throw: Dice) -> None:
        phase = throw.between(0, 6)

        def shore(y: float, swing: float = 0.025) -> list[Point]:
            return [(x, y + swing * math.sin(5 * x + phase)) for x in evenly(36, -0.4, 1.4)]

        canvas.ground("sand")
        sea = [(1.4, -0.4), (-0.4, -0.4)]
        canvas.polygon([*shore(0.55, 0.03), *sea], (178, 156, 116))
        canvas.ground(f"{water} water", [*shore(0.5, 0.03), *sea])
        for k in range(waves):
            y, swing = 0.5 - 0.085 * k, 0.03 - 0.006 * k
            canvas.polygon(shore(y - 0.035, swing) + shore(y, swing)[::-1], (*FOAM, 90))
            canvas.line(shore(y, swing), 0.016 - 0.003 * k, FOAM)
            for _ in range(45):  # ragged spray
                u, r = throw.between(-0.2, 1.2), throw.between(0.003, 0.012)
                v = y - abs(throw.between(-0.03, 0.03)) + swing * math.sin(5 * u + phase)
                canvas.disc(u, v, r, (*FOAM, 190))
            canvas.note("row", "", 0.5, y)
        behind = [*shore(edge), (1.4, 1.4), (-0.4, 1.4)]
        if back == "trees":
            canvas.polygon(behind, (58, 84, 46))
            canvas.grove(110, (-0.15, 0.83, 1.15, 1.12), 0.03)
        else:
            canvas.ground("meadow", behind)
        if back == "road":
            canvas.road([(-0.4, 0.9), (1.4, 0.9)], 0.07)
        elif back == "houses":
            for x in evenly(12, -0.2, 1.2):
                canvas.house(x, 0.92, 0.085, 0.07, "gray")
        for x, y in throw.spots(umbrellas, 0.085, (0.12, 0.63, 0.88, 0.74)):
            canvas.umbrella(x, y, shade)
        for x, y in throw.spots(boats, 0.14, (0.12, 0.09, 0.88, 0.24)):
            canvas.boat(x, y, 0.042, colour, throw.between(-0.5, 0.5), wake=True)

    sentences = [
        f"{surf} {be(waves)} in the {water} ocean near a yellow beach (with {tents}) .",
        f"{tents} {be(umbrellas)} on the yellow beach between {water} ocean and {land} .",
        f"{land} (and {tents}) are near a beach with {surf} .",
        f"{ships} {be(boats)} in the {water} sea next to a beach with {land} .",
        f"the {water} sea (with {ships}) beat {surf} on the yellow beach .",
        f"a yellow beach (with {tents}) is near {land} and {water} ocean (with {ships}) .",
        f"{surf} (and {ships}) can be seen in the {water} ocean near {land} .",
    ]
    return Plan(sentences, paint, turn)


def _round_fields(canvas: Canvas, count: int, crop: str) -> None:
    """Fields with a rotating sprinkler, as circles."""
    r, soil = 0.17, f"{crop} crop"
    spots = [(0.26, 0.19), (0.74, 0.57), (0.74, 0.19), (0.26, 0.57)][:count]
    canvas.ground(soil, *(oval(x, y, r, r) for x, y in spots))
    for x, y in spots:
        for k in range(1, 5):
            ring = oval(x, y, r * k / 5, r * k / 5)
            canvas.line([*ring, ring[0]], 0.004, (*GROUND[soil].dark, 90))
        t = canvas.dice.between(0, 6)
        canvas.line([(x, y), (x + r * math.cos(t), y + r * math.sin(t))], 0.005, MARK)
        canvas.note("farmland", crop, x, y)


def _strip_fields(canvas: Canvas, count: int, crops: list[str]) -> None:
    """Strips of two crops in turn, of different widths."""
    cuts = [k / count + canvas.dice.between(-0.15, 0.15) / count for k in range(1, count)]
    strips = list(zip([-0.15, *cuts], [*cuts, 1.15], strict=True))
    for k, crop in enumerate(crops):
        canvas.ground(f"{crop} crop", *(rectangle(a, -0.15, b, 0.84) for a, b in strips[k::2]))
    for k, (a, b) in enumerate(strips):
        crop = crops[k % 2]
        for x in evenly(round((b - a) / 0.022), a, b):
            canvas.line([(x, -0.15), (x, 0.84)], 0.006, (*GROUND[f"{crop} crop"].dark, 80))
        canvas.note("farmland", crop, (max(a, 0) + min(b, 1)) / 2, 0.4)
    for x in cuts:
        canvas.line([(x, -0.15), (x, 0.84)], 0.014, DIRT)


def farmland(dice: Dice) -> Plan:
    fields, shape = dice.count(2, 7), dice.pick("strip", "strip", "circle")
    fields = min(fields, 4) if shape == "circle" else fields
    both = dice.some(("green", "yellow", "brown"), 2)
    houses, turn = dice.count(0, 3), heading(dice, 0.06)
    side = dice.pick("road", "river", "trees")
    crops = f"{NUMBERS[fields]} [pieces|strips] of {both[0]} and {both[1]} farmlands"
    if shape == "circle":
        crops = f"{NUMBERS[fields]} {both[0]} [circle|round] farmlands"
    homes = several(houses, "red roofed house")
    edge = {"road": "a straight road", "river": "a narrow river", "trees": "a row of green trees"}

    def paint(canvas: Canvas, throw: Dice) -> None:
        canvas.ground("khaki" if shape == "circle" else "meadow")
        canvas.scrub(60)
        if shape == "circle":
            _round_fields(canvas, fields, both[0])
        else:
            _strip_fields(canvas, fields, both)
        if side == "road":
            canvas.road([(-0.2, 0.9), (1.2, 0.9)], 0.045, CONCRETE)
        elif side == "river":
            for width, colour in ((0.075, (128, 124, 84)), (0.055, (58, 92, 88))):
                canvas.line(curve((-0.2, 0.9), (1.2, 0.9), 0.012), width, colour)
        else:
            for x in evenly(24, -0.1, 1.1):
                canvas.tree(x, 0.9 + throw.between(-0.012, 0.012), 0.028)
        for x in evenly(houses, 0.3 - 0.08 * houses, 0.3 + 0.08 * houses):
            canvas.box(x, 0.79, 0.13, 0.09, (138, 132, 104))
            canvas.house(x, 0.79, 0.085, 0.06, "red")

    sentences = [
        f"{crops} are [next to|beside|near] {edge[side]} .",
        f"{homes} {be(houses)} on the edge of {crops} .",
        f"{crops} (and {homes}) can be seen [near|next to] {edge[side]} .",
        f"there are {crops} (with {homes}) near {edge[side]} .",
        f"{edge[side]} is on one side of {crops} (with {homes}) .",
        f"we can see {crops} and {edge[side]} (near {homes}) .",
    ]
    return Plan(sentences, paint, turn)


def forest(dice: Dice) -> Plan:
    tone, place = dice.pick("green", "dark green", "yellow"), dice.pick(*PLACES)
    kind, count = dice.pick("house", "house", "lake", "car", "bareland"), dice.count(1, 3)
    colour = dice.pick("red", "white", "blue")
    word = dice.pick("irregular", "round", "long")
    thing = {
        "house": several(count, f"{colour} roofed house"),
        "lake": f"[a|one] small {word} lake",
        "car": f"a curved road with {several(count, f'{colour} car')}",
        "bareland": f"[a|one] {word} piece of bareland",
    }[kind]
    are = be(count) if kind == "house" else "is"
    where = "through the middle" if kind == "car" else place
    wood, trees = f"{tone} forest", "yellow trees" if tone == "yellow" else "green trees"
    x0, y0 = PLACES[place]
    turn = heading(dice, 0.3) if kind == "car" else 0.0

    def paint(canvas: Canvas, throw: Dice) -> None:
        canvas.ground({"green": "", "dark green": "dark ", "yellow": "autumn "}[tone] + "forest")
        if kind == "house":
            canvas.ground("lawn", blob(throw, x0, y0, 0.13, 0.13, 0.2))
            canvas.line([(x0, y0), (round(x0), y0 + 0.1)], 0.014, DIRT)
            for x, y in throw.spots(count, 0.115, (x0 - 0.08, y0 - 0.08, x0 + 0.08, y0 + 0.08)):
                canvas.house(x, y, 0.085, 0.06, colour, throw.pick(0.0, 0.4, 1.2, 2.0))
        elif kind == "car":
            way = curve((-0.3, 0.5), (1.3, 0.5), 0.12)
            canvas.road(way, 0.05)
            for k in throw.some((8, 11, 14, 17, 20, 23), count):
                (x, y), (u, v) = way[k], way[k + 1]
                canvas.car(x, y, colour, math.atan2(v - y, u - x))
        else:
            a, b = (0.17, 0.08) if word == "long" else (0.13, 0.12)
            outline = blob(throw, x0, y0, a, b, 0.3 if word == "irregular" else 0.05)
            canvas.polygon(grown(outline, x0, y0, 1.1), (92, 92, 58))
            canvas.ground("green water" if kind == "lake" else "khaki", outline)

    sentences = [
        f"{thing} {are} {where} of a [dense|lush] {wood} .",
        f"a [large|vast] piece of {wood} with {thing} {where} .",
        f"{thing} {are} surrounded by many {trees} .",
        f"there {are} {thing} in the dense {wood} .",
        f"the {wood} is [lush|thick] and {thing} {are} {where} .",
        f"[only|just] {thing} {are} {where} of this [unbroken|vast] {wood} .",
    ]
    return Plan(sentences, paint, turn)


def pond(dice: Dice) -> Plan:
    ponds, boats = dice.pick(1, 1, 2), dice.count(0, 4)
    water = dice.pick("green", "dark", "blue", "brown")
    shape = dice.pick("round", "irregular", "rectangular")
    colour, houses = dice.pick("white", "red", "yellow"), dice.count(0, 2)
    around = dice.pick("green trees", "green meadow", "bareland")
    roof = dice.pick("red", "blue", "white")
    pools, are = several(ponds, f"{shape} {water} pond"), be(ponds)
    fleet = several(boats, f"small {colour} boat")
    homes = several(houses, f"{roof} roofed house")
    isle = ponds == 1 and dice.unit() < 0.4
    island = "a small island" if isle else "no islands"

    def paint(canvas: Canvas, throw: Dice) -> None:
        canvas.ground(
            {"green trees": "meadow", "green meadow": "lawn", "bareland": "khaki"}[around]
        )
        canvas.scrub(120)
        canvas.line(curve((-0.1, 0.88), (1.1, 0.9), 0.02), 0.03, shaded(DIRT, 1.05))
        if around == "green trees":
            canvas.grove(120, (0.0, 0.0, 1.0, 0.82), 0.028)
        spots = [(0.5, 0.42)] if ponds == 1 else [(0.27, 0.4), (0.74, 0.44)]
        a, b = (0.33, 0.28) if ponds == 1 else (0.19, 0.27)
        for x, y in spots:
            if shape == "rectangular":
                outline = oval(x, y, a, b, 0.22)
            elif shape == "round":
                outline = blob(throw, x, y, min(a, b), min(a, b), 0.03)
            else:
                outline = blob(throw, x, y, a * 0.95, b * 0.95, 0.26)
            bank = (136, 128, 88) if around != "bareland" else (116, 104, 74)
            canvas.polygon(grown(outline, x, y, 1.07), bank)
            canvas.ground(f"{water} water", outline)
            canvas.note("pond", water, x, y)
        x, y = spots[0]
        if isle:
            canvas.ground("lawn", blob(throw, x, y, 0.07, 0.06, 0.1))
            canvas.grove(7, (x - 0.04, y - 0.035, x + 0.04, y + 0.035), 0.02)
        reach = min(a, b) * 0.55
        for k in range(boats):  # on a ring: clear of the island, of the bank and of each other
            t = throw.between(0, 0.5) + k * 2 * math.pi / boats
            u, v = x + reach * math.cos(t), y + reach * math.sin(t)
            canvas.boat(u, v, 0.03, colour, throw.between(-3, 3))
        for u in throw.some((0.12, 0.32, 0.56, 0.8), houses):
            canvas.house(u, 0.8 if ponds == 2 else 0.82, 0.09, 0.065, roof)
        canvas.grove(12, (0.0, 0.94, 1.0, 1.0), 0.024)

    first = f"{fleet} {be(boats)} in {pools} surrounded by {around} ."
    if ponds == 2:  # nobody could say in which of the two
        first = f"{pools} (with {fleet}) are surrounded by {around} ."
    sentences = [
        first,
        f"{pools} {are} [next to|near|beside] {around} (and {homes}) .",
        f"there {are} {pools} (with {fleet}) near a [narrow|small] road .",
        f"{around} (and {homes}) can be seen around {pools} .",
        f"{pools} (with {island}) (and {fleet}) {are} in the middle of {around} .",
        f"{homes} {be(houses)} [next to|near] {pools} (with {fleet}) .",
        f"{pools} (with {fleet}) {are} between {around} and a road (with {homes}) .",
    ]
    return Plan(sentences, paint)
