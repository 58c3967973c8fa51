"""Scenes where people live and play: homes, sports grounds, car parks."""

import math

from bench.synthetic.canvas import Canvas
from bench.synthetic.colours import CONCRETE, MARK, PAINT, Colour, shaded
from bench.synthetic.plan import NUMBERS, Plan, be, heading, several
from bench.synthetic.shapes import Dice, Point, blob, curve, evenly, grown, oval, rectangle, turned


def _diamond(canvas: Canvas, x: float, y: float, r: float, angle: float, clay: Colour) -> None:
    """A baseball field: home plate at (x, y), a quarter circle of radius r around `angle`."""

    def fan(radius: float, spread: float) -> list[Point]:
        steps = [angle + spread * (k / 12 - 1) for k in range(25)]
        return [(x, y)] + [(x + radius * math.cos(t), y + radius * math.sin(t)) for t in steps]

    canvas.polygon(fan(r * 1.06, 0.84), shaded(clay, 0.92))
    for k, shade in enumerate((1.0, 1.1) * 3):  # a lawn mown in rings
        canvas.polygon(fan(r * (1 - 0.1 * k), 0.8), shaded((92, 130, 66), shade))
    canvas.polygon(fan(r * 0.5, 0.82), clay)
    ((cx, cy),) = turned([(0.25, 0)], x, y, r, angle)
    canvas.box(cx, cy, r * 0.27, r * 0.27, (100, 138, 72), angle + math.pi / 4)
    canvas.disc(cx, cy, r * 0.035, clay)
    canvas.disc(x, y, r * 0.085, clay)
    for t in (angle - 0.785, angle + 0.785):
        canvas.line([(x, y), (x + r * math.cos(t), y + r * math.sin(t))], 0.005, MARK)
    canvas.note("baseball field", "", cx, cy)


def baseball_field(dice: Dice) -> Plan:
    fields, count, turn = dice.count(1, 4), dice.count(1, 5), heading(dice)
    ground = dice.pick("brown", "orange")
    side, soil = dice.pick("cars", "houses", "pond", "trees"), dice.pick("meadow", "khaki")
    land = "green meadow" if soil == "meadow" else "khaki bareland"
    colour = dice.pick("white", "red", "blue")
    parks, are = several(fields, "baseball field"), be(fields)
    beside = {
        "cars": f"a road with {several(count, f'{colour} car')}",
        "houses": several(count, f"{colour} roofed house"),
        "pond": f"a {dice.pick('long', 'narrow')} green pond",
        "trees": "a row of [lush|dense] green trees",
    }[side]
    lies = "[is|lies]" if side != "houses" or count == 1 else "are"

    def paint(canvas: Canvas, throw: Dice) -> None:
        canvas.ground(soil)
        canvas.scrub(50)
        if side == "cars":
            canvas.road([(-0.3, 0.9), (1.3, 0.9)], 0.08)
            for x in evenly(count, 0.15, 0.85):
                canvas.car(x, 0.88, colour, 0.0)
        elif side == "houses":
            canvas.road([(-0.3, 0.8), (1.3, 0.8)], 0.03, CONCRETE, lanes=False)
            for x in evenly(count, 0.08, 0.92):
                canvas.house(x, 0.9, 0.11, 0.075, colour)
        elif side == "pond":
            canvas.ground("green water", oval(0.5, 0.91, 0.36, 0.06))
            canvas.note("pond", "green", 0.5, 0.91)
        else:
            canvas.grove(46, (-0.1, 0.85, 1.1, 0.97), 0.03)
        canvas.grove(10, (-0.05, -0.05, 1.05, 0.03))
        clay = shaded(PAINT[ground], 1.25 if ground == "brown" else 0.95)
        up = -math.pi / 2
        homes = [(0.5, 0.74, 0.56, up)]
        if fields == 2:
            homes = [(0.26, 0.64, 0.31, up), (0.74, 0.64, 0.31, up)]
        elif fields > 2:  # home plates meet in the middle
            ways = [math.pi / 4 + k * math.pi / 2 for k in range(fields)]
            homes = [(0.5 + 0.05 * math.cos(t), 0.43 + 0.05 * math.sin(t), 0.3, t) for t in ways]
        for x, y, r, angle in homes:
            _diamond(canvas, x, y, r, angle, clay)

    sentences = [
        f"{parks} {are} [next to|beside|near] {beside} .",
        f"{parks} with {ground} ground {are} near {beside} .",
        f"there {are} {parks} on the {land} [next to|beside] {beside} .",
        f"{parks} with {ground} soil {are} surrounded by {land} near {beside} .",
        f"{beside} {lies} on one side of {parks} .",
        f"we can see {parks} , {land} and {beside} .",
    ]
    return Plan(sentences, paint, turn)


def dense_residential(dice: Dice) -> Plan:
    main, odd = dice.some(("red", "gray", "brown", "blue", "white"), 2)
    odds, pools, streets = dice.count(1, 4), dice.count(0, 3), dice.count(2, 4)
    green, turn = dice.pick("some", "many"), heading(dice, 0.1)
    rest, ways = f"many {main} roofed houses", several(streets, "parallel street")
    special = several(odds, f"{odd} roofed house")
    baths = several(pools, "swimming pool")

    def paint(canvas: Canvas, throw: Dice) -> None:
        step = 1 / streets
        canvas.ground("city" if green == "some" else "meadow")
        for y in evenly(streets, 0, 1):
            canvas.road([(-0.3, y), (1.3, y)], 0.045)
            canvas.note("street", "", 0.5, y)
        deep, wide = min(0.14, 0.27 * step + 0.012), 0.135
        slots = []
        for y in evenly(streets + 2, -step, 1 + step):
            shift = throw.between(0, wide)
            for side in (-1, 1):
                gap = y + side * (0.03 + deep / 2 + 0.005)
                slots += [(x + shift, gap) for x in evenly(11, -0.3, 1.185)]
            for _ in range(16 if green == "many" else 6):
                x, r = throw.between(-0.1, 1.1), throw.between(0.013, 0.024)
                canvas.tree(x, y + 0.5 * step + throw.between(-0.02, 0.02), r)
        inner = [spot for spot in slots if max(abs(spot[0] - 0.5), abs(spot[1] - 0.5)) < 0.34]
        chosen = sorted(throw.some(inner, odds + pools))
        for x, y in (spot for spot in slots if -0.1 < spot[1] < 1.1):
            if (x, y) in chosen[odds:]:
                canvas.box(x, y, wide * 0.9, deep, (98, 124, 76))
                canvas.pool(x, y)
            else:
                w, h = wide * throw.between(0.72, 0.86), deep * throw.between(0.72, 0.84)
                roof = odd if (x, y) in chosen[:odds] else main
                canvas.house(x, y, max(w, h), min(w, h), roof, 0.0 if w >= h else math.pi / 2)

    sentences = [
        f"{special} {be(odds)} among {rest} in a dense residential area .",
        f"a dense residential area with {ways} has {rest} (and {baths}) .",
        f"{rest} (and {baths}) are arranged along {ways} .",
        f"{rest} and {special} are [neatly|orderly] arranged with {green} green trees .",
        f"there {be(pools)} {baths} between {rest} and {special} .",
        f"{ways} go through a dense residential area with {special} and {rest} .",
        f"{special} (and {baths}) can be seen among {rest} beside {ways} .",
    ]
    return Plan(sentences, paint, turn)


def parking(dice: Dice) -> Plan:
    rows, count, crowded = dice.count(2, 5), dice.count(1, 5), dice.unit() < 0.6
    colour = dice.pick("red", "blue", *(() if crowded else ("white",)), "yellow")
    main = dice.pick("white", "gray", "black")
    side = dice.pick("building", "trees", "road")
    roof, turn = dice.pick("white", "gray", "red", "blue"), heading(dice)
    beside = {
        "building": f"a [large|big] building with {roof} roof",
        "trees": "a row of green trees",
        "road": "a straight road",
    }[side]
    few, are = several(count, f"{colour} car"), be(count)
    lot = f"{NUMBERS[rows]} rows of parking spaces"
    full = [
        f"many {main} cars and {few} are parked in a parking lot near {beside} .",
        f"{few} {are} among many {main} cars in the parking lot .",
        f"a parking lot with {lot} and many {main} cars is [next to|beside] {beside} .",
        f"a crowded parking lot with {few} is near {beside} .",
        f"many {main} cars and {few} are [neatly|orderly] parked in {lot} .",
        f"there {are} {few} between many {main} cars near {beside} .",
    ]
    empty = [
        f"{few} {are} parked in an [almost empty|empty] parking lot near {beside} .",
        f"[only|just] {few} {are} in a parking lot with {lot} .",
        f"a [large|broad] parking lot with {lot} has {few} in it .",
        f"the empty parking lot with {few} is [next to|beside] {beside} .",
        f"{few} {are} in {lot} [next to|near] {beside} .",
        f"there {are} few cars in the parking lot , {few} {are} near {beside} .",
    ]

    def paint(canvas: Canvas, throw: Dice) -> None:
        canvas.ground("meadow")
        canvas.box(0.5, 0.43, 2.0, 0.8, (92, 93, 97))
        for _ in range(14):  # oil and patches
            x, y, r = throw.between(-0.1, 1.1), throw.between(0.05, 0.8), throw.between(0.02, 0.07)
            canvas.disc(x, y, r, (60, 60, 64, 40))
        if side == "building":
            canvas.building(0.5, 0.95, 0.8, 0.17, roof, 0.035)
        elif side == "trees":
            for x in evenly(17, -0.1, 1.1):
                canvas.tree(x, 0.91, throw.between(0.026, 0.036))
        else:
            canvas.road([(-0.3, 0.92), (1.3, 0.92)], 0.085)
        length = 0.055 if rows == 5 else 0.06
        slots = [(x, y) for y in evenly(rows, 0.08, 0.82) for x in evenly(19, -0.26, 1.26)]
        for x, y in slots:
            canvas.line([(x - 0.04, y - length), (x - 0.04, y + length)], 0.005, (186, 186, 180))
        for y in evenly(rows, 0.08, 0.82):
            canvas.note("row", "", 0.5, y)
            canvas.line([(-0.3, y - length), (1.22, y - length)], 0.005, (186, 186, 180))
        inner = [spot for spot in slots if max(abs(spot[0] - 0.5), abs(spot[1] - 0.5)) < 0.37]
        chosen = set(throw.some(inner, count))
        for x, y in slots:
            if (x, y) in chosen or (crowded and throw.unit() < 0.8):
                angle = throw.pick(-1, 1) * math.pi / 2 + throw.between(-0.05, 0.05)
                canvas.car(x, y, colour if (x, y) in chosen else main, angle, 0.036)
        for y in evenly(rows - 1, 0.08 + 0.37 / rows, 0.82 - 0.37 / rows):
            canvas.tree(throw.between(-0.05, 1.05), y, 0.017)

    return Plan(full if crowded else empty, paint, turn)


def sparse_residential(dice: Dice) -> Plan:
    houses, pools, cars = dice.count(1, 4), dice.count(0, 2), dice.count(0, 2)
    roof = dice.pick("red", "gray", "white", "blue", "brown")
    colour, around = dice.pick("white", "red"), dice.pick("green trees", "meadow", "bareland")
    way, turn = dice.pick("curved", "straight"), heading(dice)
    homes, are = several(houses, f"{roof} roofed house"), be(houses)
    baths = several(pools, "swimming pool")
    traffic = several(cars, f"{colour} car")
    land = f"many {around}" if around == "green trees" else f"a piece of {around}"

    def paint(canvas: Canvas, throw: Dice) -> None:
        canvas.ground({"green trees": "forest", "meadow": "meadow", "bareland": "brown"}[around])
        canvas.scrub(110)
        lane = curve((-0.3, 0.82), (1.3, 0.82), 0.06 if way == "curved" else 0.0)
        canvas.road(lane, 0.055)
        trees = {"green trees": 70, "meadow": 26, "bareland": 12}[around]
        canvas.grove(trees, (0, 0, 1, 0.72), 0.03)
        spots = throw.some([(0.25, 0.22), (0.72, 0.25), (0.27, 0.57), (0.73, 0.58)], houses)
        for x, y in spots:
            canvas.ground("lawn", blob(throw, x, y, 0.17, 0.14, 0.12))
            canvas.line([(x, y), (x + 0.03, 0.82)], 0.018, (178, 170, 152))
            canvas.grove(5, (x - 0.16, y - 0.16, x + 0.16, y - 0.11), 0.024)
        for x, y in spots:
            angle = throw.between(-0.3, 0.3)
            canvas.house(x, y, throw.between(0.14, 0.17), 0.095, roof, angle)
        for k in range(pools):
            x, y = spots[k % houses]
            x += 0.14 if k < houses else -0.14
            canvas.pool(x, y + 0.03)
        for k in throw.some((10, 13, 16, 19, 22), cars):
            (u, v), (a, b) = lane[k], lane[k + 1]
            canvas.car(u, v + 0.012, colour, math.atan2(b - v, a - u), 0.026)

    sentences = [
        f"{homes} {are} surrounded by {land} near a {way} road .",
        f"{homes} (with {baths}) {are} [next to|near|beside] a {way} road .",
        f"a sparse residential area with {land} has {homes} (and {baths}) .",
        f"{traffic} {be(cars)} on a {way} road near {homes} .",
        f"there {are} {homes} and {land} in a sparse residential area .",
        f"{homes} {are} scattered in {land} near a {way} road (with {traffic}) .",
        f"{baths} {be(pools)} [next to|beside] {homes} surrounded by {land} .",
    ]
    return Plan(sentences, paint, turn)


STADIUM = {"oval": (0.38, 0.29, 1.0), "round": (0.31, 0.31, 1.0), "rectangular": (0.36, 0.28, 0.4)}
"""Half axes and power of the outline, for `oval`."""


def _arena(canvas: Canvas, shape: str, roof: Colour, seats: Colour, track: Colour) -> None:
    """A stadium around (0.5, 0.42), without what is on its pitch."""
    (a, b, power), y = STADIUM[shape], 0.42

    def ring(wide: float, deep: float) -> list[Point]:
        return oval(0.5, y, wide, deep, power)

    canvas.polygon(ring(a + 0.06, b + 0.06), (172, 168, 158))
    canvas.polygon(ring(a, b), roof, tall=0.04)
    for u, v in ring(a, b):  # ribs of the roof
        canvas.line([(u, v), *grown([(u, v)], 0.5, y, 0.72)], 0.005, (168, 170, 172))
    canvas.polygon(ring(a * 0.8, b * 0.8), seats)
    for tier in (0.75, 0.69):
        line = ring(a * tier, b * tier)
        canvas.line([*line, line[0]], 0.004, shaded(seats, 1.25))
    canvas.polygon(ring(a * 0.64, b * 0.64), track)
    canvas.polygon(ring(a * 0.52, b * 0.5), (82, 126, 62))
    canvas.note("stadium", "", 0.5, y)


def _pitch(canvas: Canvas, shape: str, goals: bool) -> None:
    """The striped lawn in a stadium, with the lines of football."""
    y, w, h = 0.42, STADIUM[shape][0] * 0.66, STADIUM[shape][1] * 0.6
    for k, x in enumerate(evenly(6, 0.5 - w / 2, 0.5 + w / 2)):
        canvas.box(x, y, w / 6 + 0.002, h, shaded((86, 134, 64), 1.0 + 0.1 * (k % 2)))
    if goals:
        rim = rectangle(0.5 - w / 2, y - h / 2, 0.5 + w / 2, y + h / 2)
        canvas.line([*rim, rim[0]], 0.005, MARK)
        canvas.line([(0.5, y - h / 2), (0.5, y + h / 2)], 0.005, MARK)
        canvas.disc(0.5, y, h * 0.14, (*MARK, 90))


def stadium(dice: Dice) -> Plan:
    shape, turn = dice.pick("oval", "round", "rectangular"), heading(dice, 0.1)
    seats, roof = dice.pick("blue", "red", "yellow", "orange"), dice.pick("white", "gray")
    track = dice.pick(*(colour for colour in ("red", "blue") if colour != seats))
    field = dice.pick("football field", "meadow")
    courts, side = dice.count(0, 3), dice.pick("trees", "cars", "road")
    parks, colour = dice.count(1, 6), dice.pick("white", "red", "blue")
    yards = several(courts, "tennis court")
    beside = {
        "trees": "a row of green trees",
        "cars": f"a parking lot with {several(parks, f'{colour} car')}",
        "road": "a [wide|broad] road",
    }[side]
    arena = f"[a|one] [large|big] {shape} stadium" if shape != "oval" else "an oval stadium"
    name = f"stadium with {seats} seats"

    def paint(canvas: Canvas, throw: Dice) -> None:
        canvas.ground("city")
        canvas.scrub(60)
        canvas.grove(26, (-0.1, -0.1, 1.1, 0.06))
        _arena(canvas, shape, PAINT[roof], PAINT[seats], shaded(PAINT[track], 1.08))
        _pitch(canvas, shape, goals=field == "football field")
        for x in evenly(courts, 0.5 - 0.1 * courts, 0.5 + 0.1 * courts):
            canvas.box(x, 0.835, 0.16, 0.085, (64, 118, 84))
            canvas.box(x, 0.835, 0.12, 0.058, (70, 110, 160))
            canvas.line([(x - 0.06, 0.835), (x + 0.06, 0.835)], 0.004, MARK)
            canvas.line([(x, 0.803), (x, 0.867)], 0.006, MARK)
            canvas.note("tennis court", "", x, 0.835)
        if side == "road":
            canvas.road([(-0.3, 0.945), (1.3, 0.945)], 0.07)
        elif side == "cars":
            canvas.box(0.5, 0.955, 1.8, 0.1, (96, 97, 100))
            for x in evenly(18, -0.1, 1.1):
                canvas.line([(x, 0.92), (x, 0.99)], 0.004, MARK)
            for k in throw.some(range(4, 13), parks):
                x = evenly(18, -0.1, 1.1)[k] + 0.033
                canvas.car(x, 0.945, colour, math.pi / 2, 0.03)
        else:
            for x in evenly(20, -0.1, 1.1):
                canvas.tree(x, 0.95, throw.between(0.024, 0.034))

    sentences = [
        f"{arena} with {seats} seats is [next to|near|beside] {beside} .",
        f"{arena} with a {field} and {track} track is near {beside} .",
        f"{yards} {be(courts)} [next to|beside] a {name} and {roof} roof .",
        f"{yards} and {beside} are near {arena} with {seats} seats .",
        f"there is {arena} with {roof} roof and {seats} seats near {beside} .",
        f"the {shape} {name} and {roof} roof has a {field} and a {track} track .",
        f"{arena} with {track} running track is near {beside} (and {yards}) .",
    ]
    return Plan(sentences, paint, turn)
