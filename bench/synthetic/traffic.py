"""Scenes of traffic and trade: airport, bridge, crossroads, port, railway station, tanks."""

import math
from itertools import product

from bench.synthetic.canvas import Canvas
from bench.synthetic.colours import ASPHALT, CONCRETE, MARK, PAINT, shaded
from bench.synthetic.plan import BANKS, NUMBERS, Plan, be, fill_bank, heading, several
from bench.synthetic.shapes import Dice, Point, curve, evenly, oval, rectangle, turned


def airport(dice: Dice) -> Plan:
    planes, runways, turn = dice.count(1, 6), dice.count(1, 2), heading(dice)
    colour = dice.pick("white", "white", "blue", "red", "yellow")
    roof = dice.pick("white", "gray", "red", "blue", "brown")
    soil, terminal = dice.pick("meadow", "khaki"), dice.unit() < 0.6
    land = "green meadow" if soil == "meadow" else "khaki bareland"
    fleet, are = several(planes, f"{colour} plane"), be(planes)
    ways = several(runways, "runway")
    beside = f"[next to|beside|near] a long {roof} building" if terminal else "on a wide apron"

    def paint(canvas: Canvas, throw: Dice) -> None:
        canvas.ground(soil)
        canvas.scrub(70)
        for y in (0.76, 0.93)[:runways]:
            canvas.line([(-0.3, y), (1.3, y)], 0.075, (74, 76, 80))
            for x in evenly(16, -0.3, 1.3):
                canvas.line([(x - 0.025, y), (x + 0.025, y)], 0.007, MARK)
            canvas.note("runway", "", 0.5, y)
        for x in (0.12, 0.88):
            canvas.line([(x, 0.5), (x, 0.76)], 0.045, (112, 113, 114))
        canvas.box(0.5, 0.42, 1.7, 0.36 if terminal else 0.3, CONCRETE)
        for x in evenly(13, -0.3, 1.3):  # joints of the slabs
            canvas.line([(x, 0.25), (x, 0.59)], 0.003, (138, 137, 133))
        canvas.line([(-0.3, 0.55), (1.3, 0.55)], 0.006, (206, 178, 74))
        if terminal:
            canvas.building(0.5, 0.17, 0.72, 0.12, roof, 0.03)
            canvas.grove(14, (0.0, 0.0, 1.0, 0.07))
        half = min(0.085, 0.3 / planes) if terminal else 0.045
        nose = -math.pi / 2 if terminal else throw.between(-3, 3)
        for x in evenly(planes, 0.12, 0.88):
            y = 0.37 if terminal else throw.between(0.34, 0.48)
            canvas.plane(x, y, half, colour, nose + throw.between(-0.12, 0.12))

    sentences = [
        f"{fleet} {are} [parked|stopped] {beside} in an airport .",
        f"an airport with {fleet} and {ways} [is near|is next to] a piece of {land} .",
        f"{ways} and {fleet} are in an airport with {land} .",
        f"{fleet} {are} parked on the gray ground between {land} and {ways} .",
        f"there {are} {fleet} {beside} and {ways} on the other side .",
        f"we can see {fleet} [stopping|parked] orderly {beside} in the airport .",
        f"the airport with {land} has {ways} and {fleet} {beside} .",
    ]
    return Plan(sentences, paint, turn)


def bridge(dice: Dice) -> Plan:
    bridges, cars, boats = dice.count(1, 2), dice.count(0, 4), dice.count(0, 3)
    water, deck = dice.pick("green", "dark", "brown", "blue"), dice.pick("gray", "white")
    colour, hull = dice.pick("red", "blue", "yellow"), dice.pick("white", "red")
    left, right = dice.some(BANKS, 2) if dice.unit() < 0.7 else [dice.pick(*BANKS)] * 2
    turn = heading(dice)
    spans, are = several(bridges, f"{deck} bridge"), be(bridges)
    banks = f"{left} on one side and {right} on the other side"
    if left == right:
        banks = f"{left} on both sides"
    traffic = several(cars, f"{colour} car")
    ships = several(boats, f"{hull} boat")

    def paint(canvas: Canvas, throw: Dice) -> None:
        bend = throw.between(-0.05, 0.05)
        canvas.ground("meadow")
        fill_bank(canvas, left, (-0.25, -0.25, 0.27, 1.25))
        fill_bank(canvas, right, (0.73, -0.25, 1.25, 1.25))
        edges = [curve((x, -0.3), (x, 1.3), bend) for x in (0.29, 0.71)]
        for side in edges:
            canvas.line(side, 0.05, (150, 138, 104))
        canvas.ground(f"{water} water", edges[0] + edges[1][::-1])
        decks = [0.5] if bridges == 1 else [0.3, 0.7]
        for y in decks:
            canvas.line([(-0.3, y), (1.3, y)], 0.1, ASPHALT)
            canvas.box(0.5, y, 0.48, 0.12, shaded(PAINT[deck], 0.8), tall=0.035)
            canvas.box(0.5, y, 0.48, 0.094, shaded(PAINT[deck], 1.04))
            for x in evenly(20, -0.3, 1.3):
                canvas.line([(x - 0.02, y), (x + 0.02, y)], 0.006, (206, 178, 74))
            canvas.note("bridge", deck, 0.5, y)
        for k, x in enumerate(evenly(cars, 0.22, 0.78)):
            lane = 0.022 if k % 2 else -0.022
            canvas.car(x, decks[k % bridges] + lane, colour, 0.0 if k % 2 else math.pi)
        free = (0.38, 0.1, 0.62, 0.38) if bridges == 1 else (0.38, 0.42, 0.62, 0.58)
        for x, y in throw.spots(boats, 0.12, free):
            canvas.boat(x, y, 0.04, hull, math.pi / 2 + throw.between(-0.3, 0.3))

    sentences = [
        f"{spans} {are} over a {water} river with {banks} .",
        f"{traffic} {be(cars)} on {spans} over the {water} river .",
        f"{ships} {be(boats)} in a {water} river with {spans} over it .",
        f"a {water} river (with {ships}) and {spans} has {banks} .",
        f"{spans} (with {traffic}) {are} across a river with {banks} .",
        f"the {water} river goes under {spans} (with {traffic}) near {right} .",
        f"we can see {spans} over the {water} river (with {ships}) .",
    ]
    return Plan(sentences, paint, turn)


def _arm(canvas: Canvas, u: float, v: float, ring: bool) -> list[tuple[float, float, float]]:
    """What is painted on a road from the middle to (u, v) off it; returns places for cars."""
    canvas.note("road", "", 0.5 + 0.4 * u, 0.5 + 0.4 * v)
    dx, dy = u / 0.8, v / 0.8

    def along(way: float, aside: float = 0.0) -> Point:
        return 0.5 + dx * way - dy * aside, 0.5 + dy * way + dx * aside

    for step in range(9):
        near = (0.25 if ring else 0.1) + 0.02 + 0.06 * step
        canvas.line([along(near), along(near + 0.03)], 0.007, MARK)
    for aside in () if ring else evenly(6, -0.06, 0.06):  # zebra crossing
        canvas.line([along(0.085, aside), along(0.115, aside)], 0.01, MARK)
    back = math.atan2(dy, dx)
    return [
        (*along(way, side * 0.036), back + (0 if side > 0 else math.pi))
        for side in (-1, 1)
        for way in (0.3, 0.39)
    ]


def crossroads(dice: Dice) -> Plan:
    ring, cars, arms = dice.unit() < 0.5, dice.count(1, 6), dice.count(3, 4)
    colour = dice.pick("red", "white", "blue", "yellow")
    first, second = dice.some(BANKS, 2)
    turn, core = heading(dice, 0.35), dice.pick("green lawn", "bareland", "green trees")
    traffic, are = several(cars, f"{colour} car"), be(cars)
    roads = f"{NUMBERS[arms]} roads"
    node = f"a round crossroads with {core} in the middle" if ring else "a crossroads"

    def paint(canvas: Canvas, throw: Dice) -> None:
        canvas.ground("meadow")
        for k, (x, y) in enumerate(((-0.25, -0.25), (0.62, -0.25), (0.62, 0.62), (-0.25, 0.62))):
            fill_bank(canvas, (first, second)[k % 2], (x, y, x + 0.63, y + 0.63))
        if arms == 3:
            fill_bank(canvas, second, (0.38, 0.62, 0.62, 1.25))
        ends = [(1.3, 0.5), (0.5, -0.3), (-0.3, 0.5), (0.5, 1.3)][:arms]
        for width, shade in ((0.17, (176, 168, 150)), (0.14, ASPHALT)):
            for end in ends:
                canvas.line([(0.5, 0.5), end], width, shade)
        if ring:
            canvas.disc(0.5, 0.5, 0.255, (176, 168, 150))
            canvas.disc(0.5, 0.5, 0.24, ASPHALT)
            canvas.disc(0.5, 0.5, 0.125, (190, 186, 176))
            soil = {"green lawn": "lawn", "bareland": "khaki", "green trees": "lawn"}[core]
            canvas.ground(soil, oval(0.5, 0.5, 0.112, 0.112))
            if core == "green trees":
                canvas.grove(16, (0.43, 0.43, 0.57, 0.57), 0.026)
            else:
                canvas.disc(0.5, 0.5, 0.03, (214, 210, 200))
        slots = [slot for u, v in ends for slot in _arm(canvas, u - 0.5, v - 0.5, ring)]
        for x, y, angle in throw.some(slots, cars):
            canvas.car(x, y, colour, angle, 0.03)

    sentences = [
        f"{traffic} {are} on {node} between {first} and {second} .",
        f"{roads} meet at {node} between {first} and {second} .",
        f"{first} and {second} are around {node} with {traffic} on it .",
        f"{roads} with {traffic} are connected by {node} near {first} .",
        f"there {are} {traffic} passing {node} next to {second} .",
        f"{node} connects {roads} near {second} with {traffic} on them .",
    ]
    return Plan(sentences, paint, turn)


def port(dice: Dice) -> Plan:
    piers, boats = dice.count(1, 4), dice.count(1, 10)
    water, colour = dice.pick("blue", "green", "dark"), dice.pick("white", "white", "red", "blue")
    if water == "blue" and colour == "blue":
        colour = "yellow"
    ships, hull = dice.count(0, 2), dice.pick("red", "black", "brown")
    shore, turn = dice.pick("buildings", "green trees", "bareland"), heading(dice)
    fleet, are = several(boats, f"small {colour} boat"), be(boats)
    quays = several(piers, "pier")
    big = several(ships, f"large {hull} ship")

    def paint(canvas: Canvas, throw: Dice) -> None:
        canvas.ground(f"{water} water")
        canvas.box(0.5, 1.06, 2.2, 0.62, CONCRETE)
        canvas.box(0.5, 0.755, 2.2, 0.012, (206, 204, 196))
        fill_bank(canvas, shore, (-0.2, 0.82, 1.2, 1.22))
        berths = []
        for x in evenly(piers, 0.1, 0.9):
            canvas.box(x, 0.53, 0.032, 0.46, (178, 166, 144), tall=0.014)
            canvas.note("pier", "", x, 0.5)
            berths += [(x, i, y) for i in (-1, 1) for y in evenly(5, 0.3, 0.7)]
        for x, i, y in throw.some(berths, boats):
            canvas.boat(x + i * 0.065, y, 0.036, colour, throw.pick(0.0, math.pi))
        for x in throw.some((0.3, 0.7), ships):
            y, paint_ = 0.15, PAINT[hull]
            deck = [(-0.15, -0.036), (0.1, -0.036), (0.155, 0), (0.1, 0.036), (-0.15, 0.036)]
            canvas.polygon(turned(deck, x, y, 1.0), paint_, tall=0.02)
            canvas.box(x - 0.015, y, 0.2, 0.042, shaded(paint_, 1.35))
            for u in evenly(4, x - 0.07, x + 0.08):
                canvas.line([(u, y - 0.02), (u, y + 0.02)], 0.007, shaded(paint_, 0.8))
            canvas.box(x - 0.12, y, 0.035, 0.055, (226, 226, 220))
            canvas.note("ship", hull, x + 0.02, y)

    sentences = [
        f"{fleet} {are} docked [beside|along|near] {quays} in a port .",
        f"{fleet} (and {big}) can be seen in a port near {shore} .",
        f"a port with {quays} in {water} water is [next to|near] {shore} .",
        f"{big} {be(ships)} near {quays} and {fleet} in the {water} sea .",
        f"there {are} {fleet} moored at {quays} in the port with {shore} .",
        f"{quays} and {fleet} are in {water} water near {shore} .",
        f"the {water} harbour near {shore} has {quays} and {fleet} (and {big}) .",
    ]
    return Plan(sentences, paint, turn)


def railway_station(dice: Dice) -> Plan:
    tracks, trains = dice.count(3, 7), dice.count(1, 3)
    colour = dice.pick("white", "blue", "red", "green")
    roof = dice.pick("gray", "white", "blue", "red")
    left, right = dice.some(BANKS, 2)
    across, turn = dice.unit() < 0.4, heading(dice)
    rails = several(tracks, "railway track")
    cars = several(trains, f"long {colour} train")
    hall, spot = f"a long building with {roof} roof", "across" if across else "beside"

    def paint(canvas: Canvas, throw: Dice) -> None:
        canvas.ground("city")
        fill_bank(canvas, left, (-0.25, -0.25, 1.25, 0.1))
        fill_bank(canvas, right, (-0.25, 0.9, 1.25, 1.25))
        canvas.box(0.5, 0.54, 2.0, 0.56, (118, 110, 102))
        canvas.ground("gray", rectangle(-0.3, 0.27, 1.3, 0.82))
        lanes = evenly(tracks, 0.27, 0.82)
        for y in lanes:
            canvas.line([(-0.3, y), (1.3, y)], 0.034, (104, 94, 84))
            for x in evenly(44, -0.3, 1.3):
                canvas.line([(x, y - 0.015), (x, y + 0.015)], 0.005, (72, 64, 58))
            for rail in (y - 0.009, y + 0.009):
                canvas.line([(-0.3, rail), (1.3, rail)], 0.004, (188, 186, 182))
            canvas.note("railway track", "", 0.5, y)
        deep = 0.55 / tracks - 0.046
        for above, below in zip(lanes[::2], lanes[1::2], strict=False):  # platforms
            if deep > 0.014:
                canvas.box(0.5, 0.5 * (above + below), 0.9, deep, (186, 182, 172))
        for y in sorted(throw.some(lanes, trains)):
            x = throw.between(0.2, 0.3) if across else throw.between(0.32, 0.68)
            wagons = evenly(3 if across else 4, x - 0.2, x + 0.2)
            wide = (wagons[1] - wagons[0]) * 0.94
            for u in wagons:
                canvas.box(u, y, wide, 0.036, PAINT[colour], tall=0.014)
                canvas.line([(u - wide / 2, y), (u + wide / 2, y)], 0.01, PAINT[colour])
            canvas.note("train", colour, wagons[1], y)
        if across:
            canvas.building(0.68, 0.54, 0.15, 0.62, roof, 0.035)
        else:
            canvas.building(0.5, 0.18, 0.66, 0.1, roof, 0.03)

    sentences = [
        f"{cars} {be(trains)} on {rails} in a railway station .",
        f"{hall} is {spot} {rails} with {cars} in a railway station .",
        f"a railway station with {rails} and {cars} is between {left} and {right} .",
        f"{left} and {right} are in two sides of a railway station with {rails} and {cars} .",
        f"there is {hall} {spot} {rails} near {left} .",
        f"{rails} with {cars} pass through {left} and {right} .",
    ]
    return Plan(sentences, paint, turn)


def storage_tanks(dice: Dice) -> Plan:
    big, small = dice.count(1, 6), dice.count(0, 6)
    colour = dice.pick("white", "gray", "red", "green")
    other = dice.pick("white", "gray", "brown", "blue")
    soil = dice.pick("bareland", "meadow", "gray ground")
    side, turn = dice.pick("road", "river", "trees"), heading(dice)
    if other == colour:
        other = "brown"
    tanks, are = several(big, f"large {colour} storage tank"), be(big)
    minor = several(small, f"small {other} storage tank")
    water = dice.pick("green", "dark", "brown")
    edge = {
        "road": "a straight road",
        "river": f"a {water} river",
        "trees": "a row of green trees",
    }[side]

    def paint(canvas: Canvas, throw: Dice) -> None:
        canvas.ground({"bareland": "khaki", "meadow": "meadow", "gray ground": "gray"}[soil])
        canvas.scrub(90)
        columns = 1 if big == 1 else 2 if big in (2, 4) else 3
        lines = math.ceil(big / columns)
        cell = min(0.84 / columns, 0.54 / lines)
        across = evenly(columns, 0.5 - columns * cell / 2, 0.5 + columns * cell / 2)
        down = evenly(lines, 0.36 - lines * cell / 2, 0.36 + lines * cell / 2)
        for y, x in list(product(down, across))[:big]:
            canvas.box(x, y, cell * 0.97, cell * 0.97, (148, 132, 102))  # the bund
            canvas.box(x, y, cell * 0.9, cell * 0.9, (172, 160, 134))
            canvas.line([(x, y), (x, 0.665)], 0.009, (196, 194, 186))
            canvas.tank(x, y, min(0.17, 0.36 * cell), colour)
        canvas.line([(0.05, 0.665), (0.95, 0.665)], 0.009, (196, 194, 186))  # the pipe
        for x in evenly(small, 0.5 - 0.06 * small, 0.5 + 0.06 * small):
            canvas.tank(x, 0.75, 0.037, other)
        if side == "road":
            canvas.road([(-0.3, 0.9), (1.3, 0.9)], 0.07)
        elif side == "river":
            bank = curve((-0.3, 0.87), (1.3, 0.87), 0.015)
            canvas.ground(f"{water} water", [*bank, (1.3, 1.4), (-0.3, 1.4)])
            canvas.line(bank, 0.015, (150, 138, 104))
        else:
            canvas.grove(44, (-0.1, 0.86, 1.1, 0.97), 0.028)

    sentences = [
        f"{tanks} {are} on a piece of {soil} near {edge} .",
        f"{tanks} (and {minor}) can be seen [next to|near|beside] {edge} .",
        f"{minor} {be(small)} near {tanks} .",
        f"there {are} {tanks} surrounded by {soil} [next to|near] {edge} .",
        f"we can see {tanks} (and {minor}) on the {soil} .",
        f"{tanks} (with {minor}) {are} [neatly|orderly] built near {edge} .",
    ]
    return Plan(sentences, paint, turn)
