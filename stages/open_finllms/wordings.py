"""What notes and lessons are worded like: several forms of each kind, filled in by `stages.open_finllms.notes`.

All were written for this project. They say what the prices show and give no advice: what follows from it is for the reader to decide.
"""

WEEKDAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
MONTHS = ("January", "February", "March", "April", "May", "June", "July", "August", "September", "October", "November", "December")

WORDINGS: dict[str, tuple[str, ...]] = {
    "move up": (
        "{name} closed {size} higher.",
        "A gain of {size} for {name}.",
        "{name} added {size} by the close.",
        "Buyers had the better of the day: {name} rose {size}.",
    ),
    "move down": (
        "{name} closed {size} lower.",
        "A loss of {size} for {name}.",
        "{name} gave up {size} by the close.",
        "Sellers had the better of the day: {name} fell {size}.",
    ),
    "move flat": (
        "{name} ended the day where it began.",
        "No change worth the name in {name}.",
        "{name} closed almost exactly at the level of the day before.",
        "A day without direction for {name}.",
    ),
    "large move up": (
        "{name} jumped {size}, {times} times its usual daily move.",
        "An unusually strong day: {name} gained {size}, {times} times what is normal for it.",
        "{name} soared {size}; such a day is {times} times the typical one.",
        "With a rise of {size}, {name} moved {times} times as far as on an ordinary day.",
    ),
    "large move down": (
        "{name} slumped {size}, {times} times its usual daily move.",
        "An unusually weak day: {name} lost {size}, {times} times what is normal for it.",
        "{name} tumbled {size}; such a day is {times} times the typical one.",
        "With a fall of {size}, {name} moved {times} times as far as on an ordinary day.",
    ),
    "new high": (
        "{name} closed above every close of the past {span} trading days.",
        "A new {span}-day high for {name}.",
        "{name} has not closed this high in {span} trading days.",
        "The close takes {name} to the top of its range of {span} days.",
    ),
    "new low": (
        "{name} closed below every close of the past {span} trading days.",
        "A new {span}-day low for {name}.",
        "{name} has not closed this low in {span} trading days.",
        "The close takes {name} to the bottom of its range of {span} days.",
    ),
    "gap up, held": (
        "{name} opened {size} above the previous close and kept the gain.",
        "After an opening gap of {size} upwards, {name} did not fall back below its open.",
        "Overnight demand lifted {name} by {size} at the open, and the price stayed there.",
        "{name} started {size} higher and held on to it.",
    ),
    "gap up, faded": (
        "{name} opened {size} above the previous close, then weakened.",
        "An opening gap of {size} upwards did not last: {name} closed below its open.",
        "Overnight demand lifted {name} by {size} at the open, but sellers came in.",
        "{name} started {size} higher and lost part of it during the day.",
    ),
    "gap down, held": (
        "{name} opened {size} below the previous close and stayed weak.",
        "After an opening gap of {size} downwards, {name} did not climb back above its open.",
        "Overnight selling cost {name} {size} at the open, and the price did not recover.",
        "{name} started {size} lower and found no support.",
    ),
    "gap down, faded": (
        "{name} opened {size} below the previous close, then recovered.",
        "An opening gap of {size} downwards did not last: {name} closed above its open.",
        "Overnight selling cost {name} {size} at the open, but buyers came in.",
        "{name} started {size} lower and won part of it back during the day.",
    ),
    "high volume": (
        "Trading in {name} was {times} times as heavy as usual.",
        "Volume in {name} reached {times} times its normal level.",
        "Unusually many shares of {name} changed hands, {times} times the norm.",
        "Turnover in {name} swelled to {times} times the typical day's.",
    ),
    "low volume": (
        "Trading in {name} was thin, at {times} times the usual volume.",
        "Few shares of {name} changed hands: {times} times the norm.",
        "Volume in {name} dried up to {times} times its normal level.",
        "A quiet session for {name}, with {times} times the typical turnover.",
    ),
    "streak up": (
        "{name} has risen for {days} days in a row.",
        "Gain number {days} in a row for {name}.",
        "{days} days, {days} gains: {name} keeps climbing.",
        "The series of gains in {name} is now {days} days long.",
    ),
    "streak down": (
        "{name} has fallen for {days} days in a row.",
        "Loss number {days} in a row for {name}.",
        "{days} days, {days} losses: {name} keeps sliding.",
        "The series of losses in {name} is now {days} days long.",
    ),
    "above average": (
        "{name} crossed above its average of 50 days.",
        "The price of {name} is back over its 50-day average.",
        "{name} climbed through the mean of its last 50 closes.",
        "For the first time in a while {name} stands above its 50-day mean.",
    ),
    "below average": (
        "{name} crossed below its average of 50 days.",
        "The price of {name} slipped under its 50-day average.",
        "{name} sank through the mean of its last 50 closes.",
        "For the first time in a while {name} stands below its 50-day mean.",
    ),
    "deep fall": (
        "{name} is now {size} below its high of the past year.",
        "The distance of {name} to its yearly high has grown to {size}.",
        "Since its peak of the past year {name} has lost {size}.",
        "With {size} lost from its yearly high, {name} has entered what is called a bear market.",
    ),
    "momentum up": (
        "Over ten trading days {name} has gained {size}.",
        "{name} is up {size} within two weeks.",
        "Two weeks of strength: {name} stands {size} higher than ten days ago.",
        "The last ten sessions added {size} to {name}.",
    ),
    "momentum down": (
        "Over ten trading days {name} has lost {size}.",
        "{name} is down {size} within two weeks.",
        "Two weeks of weakness: {name} stands {size} lower than ten days ago.",
        "The last ten sessions took {size} off {name}.",
    ),
    "turbulent": (
        "The price of {name} swings much more than in the past months.",
        "{name} has become restless: daily moves are far larger than before.",
        "Volatility in {name} has risen clearly.",
        "Daily swings in {name} have widened markedly.",
    ),
    "calm": (
        "The price of {name} swings much less than in the past months.",
        "{name} has calmed down: daily moves are far smaller than before.",
        "Volatility in {name} has fallen clearly.",
        "Daily swings in {name} have narrowed markedly.",
    ),
    "wide range": (
        "{name} moved within a range of {size} during the day, twice the usual or more.",
        "Between the day's high and low of {name} lay {size}, an unusually wide range.",
        "A nervous session: {name} travelled {size} from low to high.",
        "High and low of {name} were {size} apart, far more than normal.",
    ),
    "week up": (
        "The week: {name} gained {size}, with {up} up and {down} down; the best was {day} ({extreme}).",
        "{name} rose {size} over the week. {up} up, {down} down. It is {below}.",
        "Weekly gain of {size} for {name}; {day} contributed {extreme}, the weakest day {other}.",
        "A good week for {name}: {size} higher, and now {below}.",
    ),
    "week down": (
        "The week: {name} lost {size}, with {up} up and {down} down; the worst was {day} ({extreme}).",
        "{name} fell {size} over the week. {up} up, {down} down. It is {below}.",
        "Weekly loss of {size} for {name}; {day} took {extreme}, the strongest day {other}.",
        "A bad week for {name}: {size} lower, and now {below}.",
    ),
    "week flat": (
        "The week left {name} unchanged, with {up} up and {down} down.",
        "{name} went nowhere over the week; it is {below}.",
        "No net move in {name} over the week; the largest day was {day} ({extreme}).",
        "{name} ended the week at its level of the week before.",
    ),
    "month up": (
        "{month}: {name} gained {size}, with {up} up and {down} down; the best was {date} ({extreme}). It ended {below}.",
        "In {month} {name} rose {size}. The strongest day brought {extreme}, the weakest {other}. It ended {below}.",
        "A month of gains for {name}: {size} in {month}, {up} up against {down} down, and a close {below}.",
        "{name} was {size} higher at the end of {month} than at its start, {below}.",
    ),
    "month down": (
        "{month}: {name} lost {size}, with {up} up and {down} down; the worst was {date} ({extreme}). It ended {below}.",
        "In {month} {name} fell {size}. The weakest day cost {extreme}, the strongest brought {other}. It ended {below}.",
        "A month of losses for {name}: {size} in {month}, {up} up against {down} down, and a close {below}.",
        "{name} was {size} lower at the end of {month} than at its start, {below}.",
    ),
    "month flat": (
        "{month} left {name} unchanged, with {up} up and {down} down, {below}.",
        "In {month} {name} went nowhere; its largest day was {date} ({extreme}).",
        "No net move in {name} in {month}: {up} up, {down} down.",
        "{name} ended {month} where it had started, {below}.",
    ),
}
