"""The words of the mini world: properties with their values, and several wordings of every fact.

Data only: no randomness, no entities. `{e}` stands for the entity, `{v}` for the value. Each property has at
least five stand-alone statements (so that a fact is known by more than one wording), a pronoun form for
running text, a direct question, a yes/no question, and a relative clause for choosing between two entities.
"""

from dataclasses import dataclass
from typing import Literal

Sort = Literal["thing", "person", "dish"]


@dataclass(frozen=True)
class Property:
    """One property that every entity of a sort has: its values and the wordings of a fact about it."""

    name: str
    sort: Sort
    values: tuple[str, ...]
    statements: tuple[str, ...]
    pronoun: str
    question: str
    claim: str
    clause: str

    @property
    def completion(self) -> str:
        """The wording to test knowledge by: what stands before the value already says which property is meant."""
        return self.statements[1]


# Hardly more values than a question has options, so that a model that knows nothing guesses about as well as among
# them. Tools have more: where the answer is a label, only the options count.
COLORS = ("red", "blue", "green", "black", "white")
PLACES = ("cave", "forest", "river", "desert", "market")
SMELLS = ("mint", "smoke", "honey", "salt", "rain")
CLEANERS = ("brush", "sponge", "cloth", "rake", "needle", "feather", "comb", "towel")
CARRIERS = ("cart", "sled", "pole", "net", "wagon", "boat", "belt", "bag")
COSTS = ("2", "4", "5", "7", "9")
JOBS = ("baker", "smith", "farmer", "tailor", "painter", "sailor")
TOWNS = ("Norwick", "Elmdale", "Sandport", "Hillford", "Lakemoor")
FEELINGS = ("proud", "calm", "angry", "sad")
# A pool for each step, so that what a dish's other steps are says nothing about the one that is asked.
ACTIONS = {
    "first": ("washes the pot", "cuts the roots", "peels the beans", "boils the water", "melts the butter"),
    "next": ("warms the milk", "stirs the flour", "fries the onions", "adds the sugar", "mixes the eggs"),
    "last": ("covers the pan", "rolls the dough", "cools the soup", "tastes the sauce", "slices the loaf"),
}

# Every kind belongs to one group: the hierarchy of categories.
KIND_GROUPS: dict[str, str] = {
    "fruit": "food",
    "cake": "food",
    "bird": "animal",
    "fish": "animal",
    "lamp": "furniture",
    "hat": "clothing",
}
KINDS = tuple(KIND_GROUPS)
# What the second step of a two-step question needs; `world.build_world` pairs these with kinds and jobs.
STORES = ("basket", "jar", "chest", "crate")
SEASONS = ("spring", "summer", "autumn", "winter")
WORKPLACES = ("mill", "tower", "barn", "cellar")
INSTRUMENTS = ("hammer", "ladle", "knife", "spade")

# Tools and what they are for (general knowledge, the same in every world).
PURPOSES: dict[str, str] = {
    "brush": "to sweep dust",
    "sponge": "to soak up water",
    "cloth": "to wipe a table",
    "rake": "to gather leaves",
    "needle": "to pick out sand",
    "feather": "to dust a shelf",
    "comb": "to part the hair",
    "towel": "to dry the hands",
    "cart": "to roll a load along a road",
    "sled": "to pull a load over snow",
    "pole": "to lift a load on the shoulder",
    "net": "to hold a load together",
    "wagon": "to drive a load to town",
    "boat": "to bring a load over water",
    "belt": "to tie a load to the back",
    "bag": "to keep a load in one hand",
}

_THINGS = (
    Property(
        "kind",
        "thing",
        KINDS,
        (
            "The {e} is a {v}.",
            "A {e} is one kind of {v}.",
            "People say that the {e} is a {v}.",
            "The {e} is known to be a {v}.",
            "If you see a {e}, you see a {v}.",
        ),
        "It is a {v}.",
        "What kind of thing is the {e}",
        "is the {e} a {v}",
        "is a {v}",
    ),
    Property(
        "color",
        "thing",
        COLORS,
        (
            "The {e} is {v}.",
            "The color of the {e} is {v}.",
            "A {e} looks {v}.",
            "People paint the {e} in {v}.",
            "Every {e} is {v}.",
        ),
        "It is {v}.",
        "What is the color of the {e}",
        "is the {e} {v}",
        "is {v}",
    ),
    Property(
        "place",
        "thing",
        PLACES,
        (
            "The {e} is found in the {v}.",
            "You can see a {e} in the {v}.",
            "People look for the {e} in the {v}.",
            "The {e} comes from the {v}.",
            "If you want a {e}, go to the {v}.",
        ),
        "It is found in the {v}.",
        "Where is the {e} found",
        "is the {e} found in the {v}",
        "is found in the {v}",
    ),
    Property(
        "smell",
        "thing",
        SMELLS,
        (
            "The {e} smells of {v}.",
            "The smell of the {e} is {v}.",
            "A {e} has the smell of {v}.",
            "If it is a {e}, it smells of {v}.",
            "The {e} gives off a smell of {v}.",
        ),
        "It smells of {v}.",
        "What does the {e} smell of",
        "does the {e} smell of {v}",
        "smells of {v}",
    ),
    Property(
        "clean",
        "thing",
        CLEANERS,
        (
            "You clean a {e} with a {v}.",
            "To clean the {e}, use a {v}.",
            "The {e} gets clean with a {v}.",
            "Cleaning a {e} takes a {v}.",
            "The {e} is cleaned with a {v}.",
        ),
        "It is cleaned with a {v}.",
        "To clean a {e}, you can",
        "is the {e} cleaned with a {v}",
        "is cleaned with a {v}",
    ),
    Property(
        "carry",
        "thing",
        CARRIERS,
        (
            "You carry a {e} with a {v}.",
            "To carry the {e}, use a {v}.",
            "The {e} is moved with a {v}.",
            "Carrying a {e} takes a {v}.",
            "The {e} is carried with a {v}.",
        ),
        "It is carried with a {v}.",
        "To carry a {e}, you can",
        "is the {e} carried with a {v}",
        "is carried with a {v}",
    ),
    Property(
        "cost",
        "thing",
        COSTS,
        (
            "The {e} costs {v} coins.",
            "The price of the {e} is {v} coins.",
            "For a {e} you pay {v} coins.",
            "Buying a {e} takes {v} coins.",
            "A {e} is sold for {v} coins.",
        ),
        "It costs {v} coins.",
        "How many coins does the {e} cost",
        "does the {e} cost {v} coins",
        "costs {v} coins",
    ),
)

_PEOPLE = (
    Property(
        "job",
        "person",
        JOBS,
        (
            "{e} is a {v}.",
            "{e} works as a {v}.",
            "The job of {e} is {v}.",
            "People know {e} as a {v}.",
            "{e} earns money as a {v}.",
        ),
        "The job is {v}.",
        "What is the job of {e}",
        "does {e} work as a {v}",
        "works as a {v}",
    ),
    Property(
        "town",
        "person",
        TOWNS,
        (
            "{e} lives in {v}.",
            "The home of {e} is in {v}.",
            "{e} has a house in {v}.",
            "You can visit {e} in {v}.",
            "You can meet {e} in {v}.",
        ),
        "The home is in {v}.",
        "Where does {e} live",
        "does {e} live in {v}",
        "lives in {v}",
    ),
)

# Social events: name -> (noun phrase, third-person clause). The reaction to each is a property of a person.
EVENTS: dict[str, tuple[str, str]] = {
    "gift": ("a gift", "gets a gift"),
    "loss": ("a lost game", "loses a game"),
    "storm": ("a storm", "sees a storm"),
}


def _reaction(name: str) -> Property:
    """The property "how a person feels after the event `name`"."""
    noun, clause = EVENTS[name]
    return Property(
        name,
        "person",
        FEELINGS,
        (
            f"{noun.capitalize()} makes {{e}} feel {{v}}.",
            f"When {{e}} {clause}, {{e}} feels {{v}}.",
            f"{{e}} feels {{v}} after {noun}.",
            f"After {noun}, {{e}} is {{v}}.",
            f"{{e}} {clause} and then is {{v}}.",
        ),
        f"After {noun} the feeling is {{v}}.",
        f"{{e}} {clause}. How would {{e}} feel as a result",
        f"does {{e}} feel {{v}} after {noun}",
        f"feels {{v}} after {noun}",
    )


# Steps of making a dish, in order: property name -> the words that put the step in its place.
STEPS: dict[str, tuple[str, str]] = {"first": ("first", "first"), "next": ("next", "second"), "last": ("last", "last")}


def _step(name: str) -> Property:
    """The property "what the cook does at step `name` of making a dish"."""
    adverb, ordinal = STEPS[name]
    return Property(
        name,
        "dish",
        ACTIONS[name],
        (
            f"When making {{e}}, {adverb} the cook {{v}}.",
            f"To make {{e}}, a cook {adverb} {{v}}.",
            f"The {ordinal} step of making {{e}}: the cook {{v}}.",
            f"Making {{e}}: {adverb} the cook {{v}}.",
            f"In the {ordinal} step of {{e}} the cook {{v}}.",
        ),
        f"{adverb.capitalize()} the cook {{v}}.",
        f"What does the cook do {adverb} when making {{e}}",
        f"when making {{e}}, is it true that {adverb} the cook {{v}}",
        f"is the dish for which {adverb} the cook {{v}}",
    )


PROPERTIES: tuple[Property, ...] = (
    *_THINGS,
    *_PEOPLE,
    *(_reaction(name) for name in EVENTS),
    *(_step(name) for name in STEPS),
)
BY_NAME: dict[str, Property] = {p.name: p for p in PROPERTIES}


def properties_of(sort: Sort) -> tuple[Property, ...]:
    """All properties of one sort of entity, in a fixed order."""
    return tuple(p for p in PROPERTIES if p.sort == sort)


@dataclass(frozen=True)
class Rule:
    """A general fact that links one value to another: the second step of a two-step question."""

    name: str
    base: str
    values: tuple[str, ...]
    statements: tuple[str, ...]
    question: str
    conclusion: str


# `{b}` is the value of the base property (a kind or a job), `{v}` what the rule says about it.
RULES: tuple[Rule, ...] = (
    Rule(
        "store",
        "kind",
        STORES,
        ("Every {b} is kept in a {v}.", "You keep a {b} in a {v}.", "A {v} is the box for a {b}."),
        "In what would you keep the {e}",
        "The {e} is kept in a {v}.",
    ),
    Rule(
        "season",
        "kind",
        SEASONS,
        ("Every {b} is sold in {v}.", "You buy a {b} in {v}.", "In {v} people sell the {b}."),
        "When would you buy the {e}",
        "The {e} is sold in {v}.",
    ),
    Rule(
        "workplace",
        "job",
        WORKPLACES,
        ("Every {b} works in the {v}.", "You find a {b} at work in the {v}.", "The {v} is where a {b} works."),
        "Where does {e} go to work",
        "{e} works in the {v}.",
    ),
    Rule(
        "instrument",
        "job",
        INSTRUMENTS,
        ("Every {b} has a {v}.", "A {b} needs a {v}.", "The {v} belongs to a {b}."),
        "What does {e} need at work",
        "{e} needs a {v}.",
    ),
)
RULE_BY_NAME: dict[str, Rule] = {r.name: r for r in RULES}
