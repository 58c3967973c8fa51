"""The sixteen scenes: what belongs to each of them, and the captions that tell it."""

from bench.synthetic.plan import Part, Scene

UP, FLIP, ANY = (-90.0,), (0.0, 180.0), tuple(float(angle) for angle in range(0, 360, 15))
NEAR, EDGE = (-0.14, -0.14, 0.14, 0.14), (-0.3, 0.88, 1.3, 0.96)
STREET = (-0.8, -0.14, 0.8, 0.14), (13, 2), "streets"
SPACES = (-0.9, 0, 0.9, 0), (30, 1), "rows"
FIELDS, SQUARE = (0.06, 0.0, 0.94, 0.72), (0.0, 90.0, 180.0, 270.0)
LEFT, RIGHT, ROW = (0, -0.3, 0.5, 0.8), (0.5, 0.1, 1, 0.7), (0.08, 0.77, 0.92, 0.77)
CITY, MEADOW = Part("ground", colours="city"), Part("ground", "green meadow", colours="meadow")
SOILS = tuple(
    Part("ground", f"{word} bareland", colours=colour)
    for word, colour in (("khaki", "khaki"), ("brown", "brown_land"), ("gray", "gray_land"))
)
LAND = (MEADOW, *SOILS)
WOODED = (Part("tree", "many green trees", grid=(11, 11), loose=1), *LAND)
WAYS = (
    Part("straight road", "a straight road", box=EDGE),
    Part("river", "a {c} river", box=EDGE),
    Part("tree", "a row of green trees", box=EDGE, grid=(24, 1), loose=0.3),
)
SIDES = (*WAYS, Part("roofed house", "a row of {c} roofed houses", box=EDGE, grid=(13, 1)))
CORNERS = tuple(
    Part("nothing", f"in the {row} {column} corner", box=(x, y, x, y))
    for row, y in (("upper", 0.2), ("lower", 0.8))
    for column, x in (("left", 0.2), ("right", 0.8))
)


def bank(y0: float, y1: float) -> tuple[Part, ...]:
    """What may lie in a strip of the picture beside a river, a track or a road."""
    box, rows = (-0.3, y0, 1.3, y1), max(1, round((y1 - y0) / 0.22))
    return (
        Part("tree", "green trees", box=box, grid=(16, 2 * rows), loose=1, size=0.042),
        Part("building", "buildings", box=box, grid=(7, rows), loose=0.1),
        Part("strip of farmland", "farmlands", box=box, grid=(6, 1)),
        Part("ground", "bareland", box=box, colours="khaki"),
    )


def scene(captions: str, turns: bool = True, **parts: Part | tuple[Part, ...]) -> Scene:
    options = {n: part if isinstance(part, tuple) else (part,) for n, part in parts.items()}
    return Scene([line.strip() for line in captions.strip().splitlines()], options, turns)


SIDE_BY_SIDE = """{main} are [next to|near|beside] {side} .
    there are {main} (and {more}) near {side} .
    {side} is on one side of {main} (and {more}) .
    we can see {main} (and {more}) on the {land} .
    {main} are surrounded by {land} near {side} .
    {more} are [next to|beside] {main} on the {land} ."""
SCENES: dict[str, Scene] = {}
SCENES["airport"] = scene(
    """{planes} are [parked|stopped] [next to|near] {hall} in an airport .
    an airport with {planes} and {runways} is [near|next to] a piece of {land} .
    {runways} and {planes} are in an airport with {land} .
    there are {planes} beside {hall} and {runways} on the other side .
    the airport with {land} has {runways} and {planes} [near|beside] {hall} .""",
    land=LAND,
    runways=Part("runway", "runway{s}", (1, 2), (0, 0.68, 1, 1), (1, 2)),
    apron=Part("ground", box=(-0.4, 0.22, 1.4, 0.58), colours="concrete"),
    hall=Part("hall", "a long {c} building", box=(0, 0.06, 1, 0.26)),
    planes=Part("plane", "{c} plane{s}", (1, 6), (0.08, 0.34, 0.92, 0.48), angles=UP),
)
SCENES["bare land"] = scene(
    """{things} are {place} of a [large|vast] piece of {soil} .
    it is a [large|broad] piece of {soil} with {things} (and {road}) .
    {things} are {place} of this {soil} (near {road}) .
    there are {things} {place} of the {soil} .
    [only|just] {things} can be seen on the {soil} (with {road}) .""",
    turns=False,
    soil=SOILS,
    place=CORNERS,
    road=tuple(Part(way, f"{way}{{s}}", (0, 1)) for way in ("straight road", "curved road")),
    things=tuple(
        Part(shape, f"{{c}} {shape}{{s}}", (1, 4), NEAR, (2, 2), "place", ANY, loose=0.2)
        for shape in ("plane", "car", "roofed house", "tree")
    ),
)
SCENES["baseball field"] = scene(
    SIDE_BY_SIDE,
    land=LAND,
    side=SIDES,
    main=(
        Part("baseball field", "large baseball field{s}", (1, 1), FIELDS, angles=SQUARE, size=0.29),
        Part("baseball field", "baseball field{s}", (1, 4), FIELDS, (2, 2), angles=SQUARE),
    ),
    more=Part("tennis court", "tennis court{s}", (0, 4), ROW, (4, 1)),
)
SCENES["beach"] = scene(
    """{waves} are in the {sea} near a yellow beach (with {umbrellas}) .
    {umbrellas} are on the yellow beach between the {sea} and {side} .
    {side} (and {umbrellas}) can be seen near a beach with {waves} .
    {boats} are in the {sea} next to a beach with {side} .
    the {sea} (with {boats}) beats {waves} on the yellow beach .
    a yellow beach (with {umbrellas}) is near {side} and the {sea} (with {boats}) .
    {waves} (and {boats}) can be seen in the {sea} near {side} .""",
    sand=Part("ground", colours="sand"),
    sea=Part("sea", "{c} [sea|ocean]", box=(0.2, 0, 0.8, 0), loose=1),
    waves=Part("wave", "row{s} of white waves", (1, 4), (0, 0.2, 0, 0.52), (1, 4), "sea"),
    side=SIDES,
    umbrellas=Part("umbrella", "{c} umbrella{s}", (0, 6), (0, 0.6, 1, 0.8), (6, 2), loose=0.5),
    boats=Part("boat", "{c} boat{s}", (0, 4), (0, 0.04, 1, 0.2), (5, 1), angles=ANY, loose=0.5),
)
SCENES["bridge"] = scene(
    """{bridges} are over a {river} with {first} on one side and {second} on the other side .
    {cars} are on {bridges} over the {river} .
    {boats} are in a {river} with {bridges} over it .
    a {river} (with {boats}) and {bridges} is between {first} and {second} .
    {bridges} (with {cars}) can be seen across a {river} near {first} .
    the {river} goes under {bridges} (with {cars}) near {second} .
    we can see {bridges} over the {river} (with {boats}) .""",
    land=MEADOW,
    first=bank(-0.3, 0.26),
    second=bank(0.74, 1.3),
    river=Part("river", "{c} river", size=0.2),
    bridges=Part("bridge", "{c} bridge{s}", (1, 2), (0, 0.5, 1, 0.5), angles=UP),
    cars=Part("car", "{c} car{s}", (0, 4), (-0.05, -0.2, 0.05, 0.2), (2, 4), "bridges", (90, -90)),
    boats=Part("boat", "{c} boat{s}", (0, 4), (-0.13, 0.36, 1.13, 0.64), (3, 2), angles=ANY),
)
SCENES["crossroads"] = scene(
    """{cars} are on {node} between {first} and {second} .
    {roads} meet at {node} between {first} and {second} .
    {first} and {second} are around {node} with {cars} on it .
    there are {cars} passing {node} next to {second} .
    {node} connects {roads} near {second} with {cars} on them .""",
    land=MEADOW,
    first=bank(-0.3, 0.4),
    second=bank(0.6, 1.3),
    roads=tuple(Part(arms, arms, angles=FLIP) for arms in ("three roads", "four roads")),
    node=(Part("nothing", "a crossroads"), Part("ring", "a round crossroads with {c}")),
    cars=Part("car", "{c} car{s}", (1, 6), (-0.1, 0.43, 1.1, 0.57), (4, 2), angles=FLIP),
)
SCENES["dense residential"] = scene(
    """{odd} are among {houses} in a dense residential area .
    a dense residential area with {streets} has {houses} (and {pools}) .
    {houses} (and {pools}) are arranged along {streets} .
    {houses} and {odd} are [neatly|orderly] arranged with green trees .
    there are {pools} between {houses} and {odd} .
    {streets} go through a dense residential area with {odd} and {houses} .""",
    land=(CITY, MEADOW),
    trees=Part("tree", grid=(8, 8), loose=1, size=0.028),
    streets=Part("straight road", "parallel street{s}", (2, 4), (0, 0, 1, 1), (1, 0), size=0.02),
    odd=Part("roofed house", "{c} roofed house{s}", (1, 4), *STREET, colours="white yellow"),
    pools=Part("swimming pool", "swimming pool{s}", (0, 3), *STREET),
    houses=Part("roofed house", "many {c} roofed houses", None, *STREET, colours="red gray blue"),
)
SCENES["farmland"] = scene(
    SIDE_BY_SIDE,
    land=LAND,
    side=SIDES,
    main=Part("strip of farmland", "{c} [piece|strip]{s} of farmland", (1, 4), LEFT),
    more=Part("round farmland", "{c} [round|circle] farmland{s}", (0, 4), RIGHT, (2, 2)),
)
SCENES["forest"] = scene(
    """{things} are {place} of a [dense|lush] {wood} .
    a [large|vast] piece of {wood} with {things} {place} (and {road}) .
    {things} are surrounded by the trees of a {wood} (near {road}) .
    there are {things} {place} in the dense {wood} .
    {cars} are on a road in the {wood} with {things} {place} .
    the {wood} is [lush|thick] and has {things} {place} (and {cars}) .""",
    turns=False,
    land=Part("ground", colours="shadow"),
    wood=Part("crown", "{c} forest", grid=(20, 20), loose=0.9, colours="green dark yellow"),
    place=CORNERS,
    road=Part("curved road", "gray road{s}", (0, 1)),
    cars=Part("car", "{c} car{s}", (0, 3), NEAR, (3, 1), "road"),
    things=(
        Part("house with a lawn", "{c} roofed house{s}", (1, 4), NEAR, (2, 2), "place", size=0.05),
        Part("irregular pond", "{c} lake{s}", (1, 1), NEAR, on="place", angles=ANY, size=0.11),
        Part("clearing", "piece{s} of bareland", (1, 1), NEAR, on="place", angles=ANY),
    ),
)
SCENES["parking"] = scene(
    """{few} are parked in {lot} near {side} .
    {lot} with {rows} has {few} (and {main}) in it .
    there are {few} in {rows} [next to|near] {side} .
    {lot} with {rows} (and {main}) is [next to|beside] {side} .
    {few} (among {main}) can be seen in {lot} .""",
    land=MEADOW,
    lot=Part("ground", "a [large|big] parking lot", box=(-0.4, -0.4, 1.4, 0.84), colours="asphalt"),
    rows=Part("parking row", "row{s} of parking spaces", (2, 5), (0, 0.02, 1, 0.82), (1, 0)),
    few=Part("car", "{c} car{s}", (1, 5), *SPACES, (90, -90), colours="red blue yellow"),
    free=Part("nothing", "free space{s}", (4, 10), *SPACES),
    main=(
        Part("car", "many {c} cars", None, *SPACES, (90, -90), colours="white gray black"),
        Part("car", "many {c} cars", (0, 0), *SPACES),
    ),
    side=SIDES,
)
SCENES["pond"] = scene(
    SIDE_BY_SIDE,
    ground=Part("ground"),
    land=WOODED,
    side=SIDES,
    main=tuple(
        Part(f"{form} pond", f"{form} {{c}} pond{{s}}", (1, 2), (0.02, 0, 0.98, 0.8), angles=ANY)
        for form in ("round", "irregular", "rectangular")
    ),
    more=Part("boat", "{c} boat{s}", (0, 4), NEAR, (2, 2), "main", ANY, loose=0.4),
)
SCENES["port"] = scene(
    """{boats} are docked [beside|along|near] {piers} in a port .
    {boats} (and {ships}) can be seen in a port near {shore} .
    a port with {piers} in {sea} is [next to|near] {shore} .
    {ships} are near {piers} and {boats} in the {sea} .
    there are {boats} moored at {piers} in the port with {shore} .
    {piers} and {boats} are in {sea} near {shore} .""",
    sea=Part("sea", "{c} water", size=2),
    quay=Part("ground", box=(-0.4, 0.76, 1.4, 1.4), colours="concrete"),
    shore=bank(0.82, 1.3),
    piers=Part("pier", "pier{s}", (1, 4), (0.1, 0.54, 0.9, 0.54), angles=UP),
    boats=Part("boat", "{c} boat{s}", (1, 10), (-0.1, -0.22, 0.1, 0.2), (2, 5), "piers", FLIP),
    ships=Part("ship", "large {c} ship{s}", (0, 2), (0.05, 0.16, 0.95, 0.16), (2, 1), angles=FLIP),
)
SCENES["railway station"] = scene(
    """{trains} are on {tracks} in a railway station .
    {hall} is beside {tracks} with {trains} in a railway station .
    a railway station with {tracks} and {trains} is between {first} and {second} .
    {first} and {second} are on two sides of a railway station with {tracks} .
    {tracks} with {trains} pass between {first} and {second} .""",
    land=CITY,
    first=bank(-0.3, 0.08),
    second=bank(0.88, 1.3),
    gravel=Part("ground", box=(-0.4, 0.26, 1.4, 0.84), colours="gray_land"),
    tracks=Part("railway track", "railway track{s}", (3, 7), (0, 0.27, 1, 0.83), (1, 0)),
    trains=Part("train", "long {c} train{s}", (1, 3), (-0.2, 0, 0.2, 0), (1, 1), "tracks", loose=1),
    hall=Part("hall", "a long building with {c} roof", box=(0, 0.08, 1, 0.26)),
)
SCENES["sparse residential"] = scene(
    """{houses} are surrounded by {land} near {side} .
    {houses} (with {pools}) can be seen [next to|near|beside] {side} .
    a sparse residential area with {land} has {houses} (and {pools}) .
    there are {houses} and {land} in a sparse residential area .
    {houses} are scattered in {land} near {side} .
    {pools} are [next to|beside] {houses} surrounded by {land} .""",
    ground=Part("ground"),
    land=WOODED,
    houses=Part("house with a lawn", "{c} roofed house{s}", (1, 4), (0.04, 0, 0.96, 0.8), (2, 2)),
    pools=Part("swimming pool", "swimming pool{s}", (0, 2), (-0.26, 0, 0.26, 0), (2, 1), "houses"),
    side=WAYS,
)
SCENES["stadium"] = scene(
    SIDE_BY_SIDE,
    land=LAND,
    side=SIDES,
    main=tuple(
        Part(f"{form} stadium", f"{form} stadium{{s}} with {{c}} seats", (1, 1), (0, 0, 1, 0.76))
        for form in ("oval", "round", "rectangular")
    ),
    pitch=Part("pitch", box=(0, 0, 0, 0), on="main"),
    more=Part("tennis court", "tennis court{s}", (0, 4), ROW, (4, 1)),
)
SCENES["storage tanks"] = scene(
    SIDE_BY_SIDE,
    land=LAND,
    side=SIDES,
    main=Part("walled tank", "large {c} storage tank{s}", (1, 6), (0.05, 0.02, 0.95, 0.68), (3, 2)),
    more=Part("storage tank", "small {c} storage tank{s}", (0, 6), ROW, (6, 1)),
)
