"""The templates of the embedded task, as data: what passages say and what is asked about them."""

import dataclasses


@dataclasses.dataclass(frozen=True)
class Attribute:
    """One thing that a passage says about each of its subjects.

    Attributes:
      kind: what its value is, a key of `passages.VALUES`.
      clauses: predicates that state it and end with the value.
      questions: ask for the value of {s}, often in other words.
      reverse: ask which subject has the value {v}.
    """

    kind: str
    clauses: tuple[str, ...]
    questions: tuple[str, ...]
    reverse: tuple[str, ...]


@dataclasses.dataclass(frozen=True)
class PassageKind:
    """Passages about several subjects of one kind.

    Attributes:
      subject: kind of the subjects, a key of `passages.SUBJECTS`.
      openings: sentences that may come first.
      attributes: of which a passage uses two.
    """

    subject: str
    openings: tuple[str, ...]
    attributes: tuple[Attribute, ...]


PASSAGE_KINDS: tuple[PassageKind, ...] = (
    PassageKind(
        "person",
        (
            "The local paper told the stories of several neighbours.",
            "The school invited some of its old students.",
        ),
        (
            Attribute(
                "city",
                (
                    "was born in {v}",
                    "grew up in {v}",
                    "came into the world in {v}",
                    "spent a happy childhood in {v}",
                ),
                (
                    "Where was {s} born?",
                    "In which city did {s} grow up?",
                    "What is the home town of {s}?",
                ),
                ("Who was born in {v}?", "Who grew up in {v}?", "Who comes from {v}?"),
            ),
            Attribute(
                "job",
                (
                    "worked as a {v}",
                    "became a {v}",
                    "found a job as a {v}",
                    "earned a living as a {v}",
                ),
                (
                    "What was the job of {s}?",
                    "What did {s} do for a living?",
                    "What did {s} work as?",
                ),
                ("Who worked as a {v}?", "Who became a {v}?", "Which person was a {v}?"),
            ),
            Attribute(
                "field",
                (
                    "studied {v}",
                    "took a degree in {v}",
                    "went to university to learn {v}",
                    "read many books on {v}",
                ),
                (
                    "What did {s} study?",
                    "Which subject did {s} learn?",
                    "In what field did {s} have a degree?",
                ),
                ("Who studied {v}?", "Who learned {v}?", "Who was a student of {v}?"),
            ),
            Attribute(
                "year",
                (
                    "got married in {v}",
                    "held a wedding in {v}",
                    "became somebody's partner for life in {v}",
                ),
                (
                    "When did {s} get married?",
                    "In what year was the wedding of {s}?",
                    "What year did {s} marry?",
                ),
                ("Who got married in {v}?", "Whose wedding was in {v}?"),
            ),
            Attribute(
                "pet",
                ("kept {v}", "owned {v}", "lived with {v}", "took care of {v}"),
                (
                    "What pet did {s} keep?",
                    "Which animal lived with {s}?",
                    "What animal did {s} own?",
                ),
                ("Who kept {v}?", "Who was the owner of {v}?", "Who had {v} at home?"),
            ),
        ),
    ),
    PassageKind(
        "person",
        (
            "Some friends showed pictures of their holidays.",
            "A travel club met to talk about long journeys.",
        ),
        (
            Attribute(
                "country",
                (
                    "travelled to {v}",
                    "made a trip to {v}",
                    "went on a journey to {v}",
                    "spent the holidays in {v}",
                ),
                (
                    "Where did {s} travel?",
                    "Which country did {s} visit?",
                    "What was the destination of {s}?",
                ),
                ("Who travelled to {v}?", "Who visited {v}?", "Who went to {v}?"),
            ),
            Attribute(
                "vehicle",
                ("travelled by {v}", "made the trip by {v}", "reached the goal by {v}"),
                (
                    "How did {s} travel?",
                    "What kind of transport did {s} use?",
                    "By what means did {s} make the trip?",
                ),
                ("Who travelled by {v}?", "Who used a {v} for the trip?"),
            ),
            Attribute(
                "month",
                ("left home in {v}", "started the trip in {v}", "said goodbye to everyone in {v}"),
                (
                    "When did {s} leave?",
                    "In which month did {s} start the trip?",
                    "What month did {s} set off?",
                ),
                ("Who left in {v}?", "Who started the trip in {v}?"),
            ),
            Attribute(
                "duration",
                ("stayed for {v}", "was away for {v}", "did not come back for {v}"),
                (
                    "How long did {s} stay?",
                    "For how long was {s} away?",
                    "How much time did {s} spend on the trip?",
                ),
                ("Who stayed for {v}?", "Who was away for {v}?"),
            ),
            Attribute(
                "object",
                ("brought home {v}", "came back with {v}", "found {v}", "packed {v}"),
                (
                    "What did {s} bring home?",
                    "What did {s} carry on the way back?",
                    "Which object did {s} have?",
                ),
                ("Who brought home {v}?", "Who came back with {v}?", "Who had {v}?"),
            ),
        ),
    ),
    PassageKind(
        "person",
        (
            "The market was full of people that week.",
            "Many visitors came to the sale at the old hall.",
        ),
        (
            Attribute(
                "object",
                ("bought {v}", "paid for {v}", "chose {v}", "went home with {v}"),
                ("What did {s} buy?", "Which thing did {s} purchase?", "What did {s} take home?"),
                ("Who bought {v}?", "Who took home {v}?", "Who was the buyer of {v}?"),
            ),
            Attribute(
                "price",
                ("spent {v}", "paid {v}", "handed over {v}"),
                (
                    "How much did {s} pay?",
                    "How much money did {s} spend?",
                    "What was the price that {s} paid?",
                ),
                ("Who paid {v}?", "Who spent {v}?"),
            ),
            Attribute(
                "weekday",
                ("visited the market on {v}", "came on {v}", "arrived on {v}"),
                (
                    "When did {s} visit the market?",
                    "On which day did {s} come?",
                    "What day did {s} arrive?",
                ),
                ("Who came on {v}?", "Who visited the market on {v}?"),
            ),
            Attribute(
                "person",
                ("talked to {v}", "met {v}", "was helped by {v}", "had lunch with {v}"),
                ("Who met {s}?", "To whom did {s} talk?", "Which person did {s} meet?"),
                ("Who met {v}?", "Who talked to {v}?"),
            ),
        ),
    ),
    PassageKind(
        "company",
        ("The region is known for its factories.", "Several firms took part in the trade fair."),
        (
            Attribute(
                "person",
                (
                    "was founded by {v}",
                    "was started by {v}",
                    "belongs to {v}",
                    "was the idea of {v}",
                ),
                ("Who founded {s}?", "Who started {s}?", "Who was the founder of {s}?"),
                ("Which company was founded by {v}?", "What firm did {v} start?"),
            ),
            Attribute(
                "city",
                ("has its office in {v}", "is based in {v}", "has its factory in {v}"),
                ("Where is {s} based?", "In which city is {s}?", "Where is the office of {s}?"),
                ("Which company is based in {v}?", "What firm has its office in {v}?"),
            ),
            Attribute(
                "product",
                ("makes {v}", "sells {v}", "is famous for its {v}", "produces {v}"),
                ("What does {s} make?", "What product does {s} sell?", "What is {s} famous for?"),
                ("Which company makes {v}?", "What firm produces {v}?"),
            ),
            Attribute(
                "year",
                (
                    "opened in {v}",
                    "was created in {v}",
                    "began its work in {v}",
                    "has existed since {v}",
                ),
                (
                    "When did {s} open?",
                    "In what year was {s} created?",
                    "Since when has {s} existed?",
                ),
                ("Which company opened in {v}?", "What firm was created in {v}?"),
            ),
        ),
    ),
    PassageKind(
        "painting",
        (
            "The museum put new paintings on its walls.",
            "A famous collection was shown to the public.",
        ),
        (
            Attribute(
                "person",
                ("was painted by {v}", "is a work of {v}", "came from the hand of {v}"),
                ("Who painted {s}?", "Who is the artist of {s}?", "Who made {s}?"),
                ("Which painting is by {v}?", "What did {v} paint?"),
            ),
            Attribute(
                "scene",
                ("shows {v}", "is a picture of {v}", "presents {v}"),
                ("What does {s} show?", "What can be seen in {s}?", "What is the subject of {s}?"),
                ("Which painting shows {v}?", "In what picture can one see {v}?"),
            ),
            Attribute(
                "year",
                ("was finished in {v}", "was completed in {v}", "dates from {v}"),
                (
                    "When was {s} finished?",
                    "In what year was {s} completed?",
                    "What is the date of {s}?",
                ),
                ("Which painting was finished in {v}?", "What picture dates from {v}?"),
            ),
            Attribute(
                "city",
                (
                    "used to hang in {v}",
                    "was stolen in {v}",
                    "was first shown in {v}",
                    "was sold in {v}",
                ),
                (
                    "Where was {s} before?",
                    "In which city was {s} earlier?",
                    "What city did {s} come from?",
                ),
                ("Which painting was in {v}?", "What picture came from {v}?"),
            ),
        ),
    ),
    PassageKind(
        "place",
        (
            "Every village in the valley is proud of its past.",
            "A guide book describes the villages of the coast.",
        ),
        (
            Attribute(
                "material",
                ("has a church of {v}", "has a tower made of {v}", "is known for walls of {v}"),
                ("What is the building in {s} made of?", "Which material was used in {s}?"),
                ("Which village has a building of {v}?", "Where was {v} used for building?"),
            ),
            Attribute(
                "food",
                ("serves its guests {v}", "is loved for its {v}", "offers visitors {v}"),
                (
                    "What do people eat or drink in {s}?",
                    "What does {s} offer its guests?",
                    "What is served in {s}?",
                ),
                ("Which village is loved for its {v}?", "Where are guests served {v}?"),
            ),
            Attribute(
                "month",
                ("holds its festival in {v}", "celebrates in {v}", "has its great party in {v}"),
                ("When is the festival in {s}?", "In which month does {s} celebrate?"),
                ("Which village celebrates in {v}?", "Where is a festival held in {v}?"),
            ),
            Attribute(
                "person",
                ("is led by {v}", "elected {v}", "chose as mayor {v}"),
                ("Who leads {s}?", "Who is the mayor of {s}?", "Who was elected in {s}?"),
                ("Which village is led by {v}?", "Where is {v} the mayor?"),
            ),
            Attribute(
                "crowd",
                ("is home to {v}", "has room for {v}", "counts {v}"),
                (
                    "How many people live in {s}?",
                    "What is the population of {s}?",
                    "How many are there in {s}?",
                ),
                ("Which village is home to {v}?", "Where do {v} live?"),
            ),
        ),
    ),
    PassageKind(
        "team",
        ("The summer games ended with a surprise.", "The season was the best in many years."),
        (
            Attribute(
                "colors",
                ("plays in {v}", "wears {v}", "has a flag in {v}"),
                (
                    "What colors does {s} wear?",
                    "In which colors does {s} play?",
                    "What are the colors of {s}?",
                ),
                ("Which team wears {v}?", "Who plays in {v}?"),
            ),
            Attribute(
                "person",
                ("is trained by {v}", "has a new coach called {v}", "listens to its captain {v}"),
                (
                    "Who trains {s}?",
                    "Who leads {s}?",
                    "What is the name of the person in charge of {s}?",
                ),
                ("Which team is led by {v}?", "What team does {v} train?"),
            ),
            Attribute(
                "goals",
                ("scored {v}", "won with {v}", "finished with {v}"),
                (
                    "How many points did {s} get?",
                    "What was the score of {s}?",
                    "How much did {s} score?",
                ),
                ("Which team scored {v}?", "Who finished with {v}?"),
            ),
            Attribute(
                "year",
                ("won the cup in {v}", "took the title in {v}", "was the champion of {v}"),
                (
                    "When did {s} win?",
                    "In what year was {s} the champion?",
                    "What year did {s} take the cup?",
                ),
                ("Which team won in {v}?", "Who was the champion of {v}?"),
            ),
        ),
    ),
)

# Sentences that may stand between the others and answer nothing.
FILLERS: tuple[str, ...] = (
    "Nobody knows how the story went on.",
    "All of this was written down much later.",
    "The weather was fine that year.",
    "People still like to talk about it.",
    "There are photographs of that time.",
)
