"""Wordings of the offline tasks, a set for each split: no wording of train is one of valid or test.

Braces are filled in by `offline_notes` and `offline_tables` with real figures of a share on a day: name, date, prev (close of the day
before), close, size (change in per cent without its sign), signed (with it). "any" wordings say nothing of the direction in words, so that
the figures have to be read. All were written for this project.
"""

SPLITS = ("train", "valid", "test")
TWO_WAY = ("up", "down", "flat")

# What is asked, with the labels that are allowed, one imperative sentence as in the paper's prompts (its Tables 13 and 14).
INSTRUCTIONS: dict[str, dict[str, tuple[str, ...]]] = {
    "sentiment": {
        "train": (
            "Decide whether the sentence is positive, negative or neutral for holders of the share, and answer with that word.",
            "Give the sentiment of the financial note below as positive, negative or neutral.",
            "Label the news on the share: positive, negative or neutral.",
        ),
        "valid": ("State the sentiment of the text: positive, negative or neutral.",),
        "test": ("What is the sentiment of this financial sentence? Answer with positive, negative or neutral.",),
    },
    "headlines": {
        "train": ("Answer the question on the headline with Yes or No.", "Read the headline and reply Yes or No.", "Yes or No?"),
        "valid": ("Say Yes or No to the question about this headline.",),
        "test": ("Consider the headline and answer the question with either Yes or No.",),
    },
    "ner": {
        "train": (
            "List the organisations and places that the text names, one a line, as name, type with the type ORG or LOC.",
            "Write each named entity of the text on a line of its own, followed by a comma and ORG or LOC.",
        ),
        "valid": ("Find the names of organisations (ORG) and places (LOC), a line for each, as name, type.",),
        "test": ("Identify the named entities in the text, an organisation (ORG) or a place (LOC), and give one a line as name, type.",),
    },
    "relations": {
        "train": (
            "Extract the relations of the text, a line each, as relation: head, tail (headquarters, industry, outperformed).",
            "Does the text state headquarters, industry or outperformed? Write relation: head, tail for each, one a line.",
        ),
        "valid": ("Write down each relation (headquarters, industry, outperformed) in the text as relation: head, tail.",),
        "test": ("Give the relations in the text, headquarters, industry or outperformed, as relation: head, tail, each on a line.",),
    },
    "table_qa": {
        "train": (
            "Answer the question with a number from the table.",
            "Read the table and reply with the number that is asked for.",
        ),
        "valid": ("Use the table to answer with one number.",),
        "test": ("Answer the question on the table, giving the number alone.",),
    },
    "stock": {
        "train": (
            "From the changes of the last days in per cent, say whether the close of {asset} will Rise or Fall on the next trading day.",
            "Predict the next day's close of {asset} from its recent moves: Rise or Fall.",
        ),
        "valid": ("Will {asset} close higher or lower on the following day? Answer Rise or Fall.",),
        "test": (
            "Analyse the data and decide whether the closing price of {asset} will ascend or descend next day; respond with Rise or Fall.",
        ),
    },
    "german": {
        "train": (
            "Judge from the customer's data whether the credit is good or bad, and answer with that word.",
            "Is this borrower good or bad?",
        ),
        "valid": ("Say whether the credit risk of this applicant is good or bad.",),
        "test": ("Assess the creditworthiness of a customer from the attributes below and respond with either good or bad.",),
    },
    "fiqa": {
        "train": (
            "Answer the question on personal finance.",
            "Give short advice on the following money question.",
        ),
        "valid": ("Reply briefly to this question about finance.",),
        "test": ("Please answer the following financial question in one or two sentences.",),
    },
    "summaries": {
        "train": (
            "Summarise the article in one sentence.",
            "Write a one-sentence summary of the news text.",
        ),
        "valid": ("Sum up the text in a single sentence.",),
        "test": ("Perform abstractive summarisation of the following article in one sentence.",),
    },
}

NOTES: dict[str, dict[str, tuple[str, ...]]] = {
    "train": {
        "up": (
            "{name} rose {size} to {close} on {date}.",
            "On {date} the price of {name} climbed to {close}, a gain of {size}.",
            "Shares in {name} advanced {size} on {date}.",
            "{name} added {size} on {date} and closed at {close}.",
        ),
        "down": (
            "{name} fell {size} to {close} on {date}.",
            "On {date} the price of {name} dropped to {close}, a loss of {size}.",
            "Shares in {name} declined {size} on {date}.",
            "{name} gave up {size} on {date} and closed at {close}.",
        ),
        "flat": (
            "{name} was little changed at {close} on {date}.",
            "On {date} the price of {name} stayed close to {prev}.",
            "Shares in {name} hardly moved on {date}.",
            "{name} ended {date} about where it began, at {close}.",
        ),
        "any": (
            "{name} closed at {close} on {date}, after {prev} the day before.",
            "Change of {name} on {date}: {signed}.",
            "The close of {name} went from {prev} to {close} on {date}.",
        ),
    },
    "valid": {
        "up": ("{name} strengthened by {size} on {date}.", "{date}: {name} firmer, {size} up at {close}."),
        "down": ("{name} weakened by {size} on {date}.", "{date}: {name} softer, {size} down at {close}."),
        "flat": ("{name} traded sideways on {date}.", "{date}: no clear direction for {name} at {close}."),
        "any": ("{date}: {name} {close} (previous close {prev}).", "{name} on {date}, day's move {signed}."),
    },
    "test": {
        "up": (
            "A {size} jump on {date} lifted {name} to {close}.",
            "Investors who held {name} on {date} ended it {size} richer.",
            "{name} surged on {date}, finishing at {close}.",
        ),
        "down": (
            "A {size} slide on {date} took {name} to {close}.",
            "Investors who held {name} on {date} ended it {size} poorer.",
            "{name} tumbled on {date}, finishing at {close}.",
        ),
        "flat": (
            "{name} was steady on {date}, finishing at {close}.",
            "An uneventful {date} left {name} near {prev}.",
            "Investors who held {name} on {date} saw next to no difference.",
        ),
        "any": (
            "{date} took the share price of {name} from {prev} to {close}.",
            "{name}: {close} at the end of {date}, compared with {prev} a session earlier.",
            "Daily performance of {name} on {date}: {signed}.",
        ),
    },
}

# A headline with {other} compares two shares; one with {prev} states an earlier price.
HEADLINES: dict[str, dict[str, tuple[str, ...]]] = {
    "train": {
        "up": ("{name} up {size} at {close}", "{name} gains, beats {other}", "{name} climbs from {prev}", "Buyers push {name} to {close}"),
        "down": (
            "{name} down {size} at {close}",
            "{name} loses, trails {other}",
            "{name} drops from {prev}",
            "Sellers push {name} to {close}",
        ),
        "flat": (
            "{name} unchanged at {close}",
            "{name} flat as {other} trades",
            "{name} stays at {prev}",
            "Quiet day leaves {name} at {close}",
        ),
        "any": ("{name} at {close} after {prev}", "{name} {signed} on the day", "{name} moves {signed}, {other} in focus"),
    },
    "valid": {
        "up": ("{name} firmer, {size} better", "{name} stronger than {other}", "{name} recovers from {prev}"),
        "down": ("{name} softer, {size} worse", "{name} weaker than {other}", "{name} retreats from {prev}"),
        "flat": ("{name} sideways at {close}", "{name} and {other} without news", "{name} remains near {prev}"),
        "any": ("{name}: {prev}, now {close}", "Day's move of {name} {signed}"),
    },
    "test": {
        "up": (
            "{name} jumps {size}",
            "{name} rallies to {close}, outshines {other}",
            "{name} rebounds from {prev}",
            "Strong session for {name}",
        ),
        "down": ("{name} slides {size}", "{name} sinks to {close}, lags {other}", "{name} slips from {prev}", "Weak session for {name}"),
        "flat": ("{name} steady at {close}", "{name} treads water beside {other}", "{name} holds {prev}", "Uneventful session for {name}"),
        "any": ("{name} closes at {close} versus {prev}", "{name} ends session {signed}", "{name} {signed} against {other}"),
    },
}
HEADLINE_QUESTIONS: dict[str, dict[str, tuple[str, ...]]] = {
    "up": {
        "train": ("Did the price go up?", "Is it about a rise of the price?"),
        "valid": ("Was there a rise?",),
        "test": ("Does the headline say that the price increased?",),
    },
    "down": {
        "train": ("Did the price go down?", "Is it about a fall of the price?"),
        "valid": ("Was there a fall?",),
        "test": ("Does the headline say that the price decreased?",),
    },
    "flat": {
        "train": ("Did the price stay the same?", "Is it about an unchanged price?"),
        "valid": ("Was there no move?",),
        "test": ("Does the headline say that the price was constant?",),
    },
    "past": {
        "train": ("Is an earlier price stated?", "Does it name a price of the past?"),
        "valid": ("Is the price before given?",),
        "test": ("Does the headline give the price of an earlier day?",),
    },
    "compare": {
        "train": ("Are two shares compared?", "Does it name more than one share?"),
        "valid": ("Are there two companies in it?",),
        "test": ("Does the headline mention another company?",),
    },
}

# Tokens stand apart, as in the published sets. {a} and {b} are shares, {city} is the seat and {industry} the trade of {a}.
ENTITY_TEXTS: dict[str, tuple[str, ...]] = {
    "train": (
        "{a} , which has its seat in {city} , closed at {close} on {date} .",
        "On {date} {a} rose while {b} fell .",
        "{a} ( {city} ) and {b} were among the most traded shares on {date} .",
        "The shares of {a} ended {date} at {close} .",
        "Analysts in {city} follow {a} more closely than {b} .",
    ),
    "valid": (
        "From {city} , {a} reported no news on {date} ; its share stood at {close} .",
        "{b} and {a} moved apart on {date} .",
    ),
    "test": (
        "At the head office in {city} , {a} saw its share finish {date} at {close} .",
        "Traders compared {a} with {b} on {date} .",
        "While {b} stood still on {date} , the company {a} of {city} reached {close} .",
        "A share of {a} cost {close} on {date} , less than many had hoped .",
        "Holders of {b} looked to {city} on {date} , the home of {a} .",
    ),
}
RELATION_TEXTS: dict[str, tuple[str, ...]] = {
    "train": (
        "{a} , a company from {city} , gained {pa} on {date} while {b} moved {pb} .",
        "{a} of {city} is in {industry} .",
        "{a} works in {industry} ; on {date} its share moved {pa} and that of {b} {pb} .",
        "With its seat in {city} , {a} is known for {industry} .",
        "On {date} {b} moved {pb} against {pa} for {a} .",
    ),
    "valid": (
        "{a} ( {industry} , {city} ) closed {date} without news .",
        "{date} : {a} {pa} , {b} {pb} .",
    ),
    "test": (
        "The {city} company {a} , active in {industry} , was in demand on {date} .",
        "Compared with {pb} for {b} , the return of {a} on {date} was {pa} .",
        "{a} runs its {industry} business out of {city} .",
        "{a} , a name in {industry} , returned {pa} on {date} , {b} {pb} .",
    ),
}
TABLE_QUESTIONS: dict[str, dict[str, tuple[str, ...]]] = {
    "lookup": {
        "train": ("What was the close on {day}?", "At which price did it close on {day}?"),
        "valid": ("Give the close of {day}.",),
        "test": ("How high was the closing price on {day}?",),
    },
    "highest": {
        "train": ("What is the highest close?", "Which is the largest close in the table?"),
        "valid": ("Give the maximum.",),
        "test": ("What was the top closing price of the period?",),
    },
    "lowest": {
        "train": ("What is the lowest close?", "Which is the smallest close in the table?"),
        "valid": ("Give the minimum.",),
        "test": ("What was the bottom closing price of the period?",),
    },
    "difference": {
        "train": ("By how much did the close change from the first to the last day?", "What is the last close less the first?"),
        "valid": ("Give the change of the close over all days.",),
        "test": ("How far apart are the final and the initial closing price (final less initial)?",),
    },
    "rises": {
        "train": ("On how many days was the close above that of the day before?", "How many rises from one day to the next are there?"),
        "valid": ("Count the rises.",),
        "test": ("How often did the closing price increase from one row to the next?",),
    },
}
