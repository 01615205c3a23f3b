"""Word lists of the rules that corrupt a summary (`stages.sepo.corrupt`): antonyms, places, teams and bodies, all authored here.

A list need not be complete. A name that it lacks is never exchanged, and a name may only be exchanged for another of the same class.
"""

from __future__ import annotations

import re

MONTHS = tuple("January February March April May June July August September October November December".split())
WEEKDAYS = tuple("Monday Tuesday Wednesday Thursday Friday Saturday Sunday".split())
ALSO_WORDS = frozenset(("March", "April", "May", "June", "August"))  # months that are words or names as well
LONG_MONTHS = frozenset(("January", "March", "May", "July", "August", "October", "December"))
NUMBER_WORDS = tuple("two three four five six seven eight nine ten eleven twelve".split())

UNITS = {
    "hours": "days", "days": "weeks", "weeks": "months", "months": "years", "years": "months",
    "last year": "last month", "last month": "last year", "last week": "last month", "next year": "next month", "next month": "next year",
    "next week": "next month", "this year": "this month", "this month": "this year", "this week": "this month", "summer": "winter",
    "winter": "summer", "autumn": "spring", "morning": "evening", "evening": "morning", "afternoon": "morning",
}  # fmt: skip

CONTRACTIONS = {
    "can't": "can", "cannot": "can", "won't": "will", "isn't": "is", "aren't": "are", "wasn't": "was", "weren't": "were", "hasn't": "has",
    "haven't": "have", "hadn't": "had", "couldn't": "could", "wouldn't": "would", "shouldn't": "should", "no longer": "still",
}  # fmt: skip
PARTICIPLES = tuple(
    """
    been become begun won lost made said met set put told paid found taken given seen gone done held kept left led hit cut cost shot shut
    sold sent built brought bought thought taught caught drawn grown known shown thrown written broken chosen spoken stolen driven risen
    fallen beaten bitten hidden eaten forgotten laid heard run come hurt quit split beat struck stuck sworn torn worn withdrawn undergone
    spent
""".split()
)


def _pairs(text: str) -> list[tuple[str, str]]:
    """``a = b`` may be exchanged either way, ``a > b`` only this way."""
    found = []
    for entry in re.split(r"[;\n]", text.strip()):
        left, sign, right = re.fullmatch(r"(.+?) ([=>]) (.+)", entry.strip()).groups()
        found += [(left, right), (right, left)] if sign == "=" else [(left, right)]
    return found


# Words in lower case or at the start of the sentence. A longer phrase goes before a shorter one that begins at the same place.
ANTONYMS = _pairs("""
rose = fell; risen = fallen; rising = falling; rises in = falls in; increase in = decrease in; increased = decreased
increasing = decreasing; rise in = fall in; drop in > rise in; gained > lost; profits = losses; grew > shrank; expand > shrink
improve = worsen; improved > worsened; growth > decline
won > lost; lost > won; victory > defeat; victory over > defeat by; defeat by > victory over; defeat to > victory over; defeat > victory
win over > defeat by; win at > defeat at; win against > defeat against; beat > lost to; lost to > beat; to win > to lose
retain > lose; retained > lost; promoted = relegated; promotion = relegation
more than > less than; fewer than > more than; less than > more than; more likely = less likely; higher = lower; highest = lowest
larger = smaller; largest = smallest; bigger > smaller; biggest = smallest; best = worst; better = worse; older = younger
oldest = youngest
longer = shorter; longest = shortest; faster = slower; fastest = slowest; stronger = weaker; strongest = weakest; strong = weak
hottest > coldest; wettest > driest; warmest > coldest; major = minor; serious > minor; seriously > slightly; rare > common
majority = minority; many > few; hundreds of = thousands of; dozens of > hundreds of; million = billion
before = after; following > before; at the start of = at the end of; the start of = the end of; the end of = the start of
early > late; late > early; began > ended; begun > ended; started > finished; first half > second half; first round > second round
first leg > second leg; first > last
opened = closed; reopened > closed; launched > cancelled; suspended > reinstated; sacked > reinstated; cancelled > confirmed
delayed > brought forward; signed > rejected
without > with; including > excluding; inside = outside; above = below; near > far from; north = south; northern = southern
east = west; eastern = western; entering = leaving
accepted > rejected; rejected > accepted; accept = reject; approved > rejected; backed = opposed; backing = opposing
support for = opposition to; agreed to = refused to; pledged to > refused to; promised to > refused to; vowed to > refused to
wants to > refuses to; failed to = managed to; fail to > manage to; continue to > cease to; allowed to > forbidden to
voted against > voted for; voted for > voted against; in favour of > against; confirmed > denied; denied > confirmed; admitted > denied
criticised = praised; criticism from = praise from; criticism of > praise for; welcomed = condemned; apologised for = defended
despite = because of; able to = unable to; likely to > unlikely to; successful = unsuccessful; success > failure; happy > unhappy
found guilty > found not guilty; pleaded guilty > pleaded not guilty; found guilty of > acquitted of; convicted of > acquitted of
charged with > cleared of; accused of > cleared of; arrested > released; found dead = found alive; killed > injured
former > current; current > previous; permanent = temporary; permanently > temporarily; temporarily > permanently; private > public
national > local; foreign > local; senior = junior; positive = negative; violent > peaceful; peaceful > violent; urban = rural
bought = sold; buy = sell; buying = selling; imports = exports; joined > left; join > leave; rejoined > left; leave > join
returned to > left; arrived in > left; top of > bottom of; bottom of > top of; bottom side > top side; bottom club > top club
man = woman; men = women; boy = girl; boys = girls; male = female; father = mother; fathers = mothers; son = daughter; sons = daughters
brother = sister; brothers = sisters; husband = wife; grandfather = grandmother; teenager > pensioner; teenagers > pensioners
children > adults; always > never; everyone > nobody; weekly > daily; daily > weekly; annual > monthly
""")

GENDER = frozenset("man woman men women boy girl boys girls male female father mother fathers mothers son daughter sons daughters".split())
GENDER |= frozenset("brother sister brothers sisters husband wife grandfather grandmother".split())

_BE = r"\b(?:is|are|be|been|being|was|were|get|got) $"
_NOT_VERB = r" (?:a|an|the|his|her|its|their|this|that|some|any)\b"
# Contexts in which a word has another meaning: patterns of what stands before it and after it.
BARRED: dict[str, tuple[str, str]] = {
    "rose": ("", r" (?:to (?:his|her|their)|from)\b"),
    "fell": ("", r" (?:from|ill|asleep|into|off|on|onto|down|out|in love|through|short|to (?:his|her|their))\b"),
    "fallen": (r"\bhad $", r" (?:from|ill|asleep|into|off|on|onto|out|foul|behind|in love|short|to (?:his|her|their))\b"),
    "increased": ("", r" (?:risk|powers)"),
    "lost": (
        _BE + r"|\b(?:the|a|of) $",
        r" (?:ground|contact|control|weight|out|track|sight|interest|to|in|their|her|his (?!seat|title))\b",
    ),
    "won": ("", r"(?:['’]| over\b)"),
    "defeat": (r"\b(?:to|costly|heavy) $", r" (?:the|a) "),
    "victory": ("", r" for\b"),
    "win over": (r"\bto $", ""),
    "win at": (r"\bto $", ""),
    "win against": (r"\bto $", ""),
    "beat": (r"\b(?:saw|see|help\w*|to|will|would|can|could|may|might|must|watch\w*|and|a|as|the)\b[^,]*$", r" (?![A-Z])"),
    "lost to": ("", r" (?![A-Z])"),
    "to win": ("", r" over\b"),
    "gained": ("", r" (?:a|access|entry|notoriety)"),
    "drop in": (r"\bto $", ""),
    "fall in": (r"\b(?:to|will|could|may|that) $", ""),
    "rise in": (r"\b(?:to|will|could|may|that) $", ""),
    "more than": (r"\bno $", r" (?![\d£$€]|half|twice|two|three|four|five|six|seven|eight|nine|ten|a|one)"),
    "less than": ("", r" (?![\d£$€]|half|two|three|four|five|six|seven|eight|nine|ten)"),
    "fewer than": (r"\bno $", ""),
    "hundreds of": (r"\bof $", ""),
    "thousands of": (r"\bof $", ""),
    "higher": ("", r" education"),
    "lower": ("", r" (?:house|court|league)"),
    "best": (r"\b(?:at|do|did|his|her|their|its) $", r" (?:known|friends?|interests?|man|[A-Z])|,"),
    "better": (r"\b(?:get|for|the) $", r" known"),
    "longer": (r"\b(?:no|any) $", ""),
    "early": ("", r" (?:warning|years|retirement)"),
    "late": ("", r" (?!January|February|March|April|May|June|July|August|September|October|November|December|on|in|\d)"),
    "many": (r"\b(?:as|how|so|too|the|of|in) $", r" more|,"),
    "majority": (r"\b(?:overwhelming|vast|their|his|her) $", r" (?:government|rule)"),
    "before": (
        r"\b(?:never|ever|night|day|year|week|month|long|as|going|appear\w*|brought|gone) $",
        r" (?:the )?(?:court|mag|judg|MPs)|[.,]|$",
    ),
    "after": (r"\b(?:nam\w+|look\w*|sought|car\w+|day|year|soon|month|week|ran|morning|run) $", r" (?:all|him|her|them)\b|[.,]|$"),
    "following": (r"\b(?:of|the|are|is|been|be|was|were|to|and|a|his|her|their) $", r" (?:up|in|on)\b|[.,]|$"),
    "began": ("", r" (?:to\b|life|her|his|\w+ing\b|as)"),
    "begun": ("", r" (?:to\b|\w+ing\b)|[.,]|$"),
    "started": ("", r" (?:to|at|life|with|out|as)\b"),
    "first": (
        r"\b(?:at|and|who|had|have|has|was|were|is|in|said) $|^",
        r" (?:of|came|aid|lady|class|time|name|team|choice|cousin|degree|[A-Z])|[.,]|$",
    ),
    "opened": ("", r" (?:fire|the scoring|up|with|for|his|her|their|by|(?:\d+-)*\d+)"),
    "closed": (r"\b(?:a|the|of|behind) $", ""),
    "launched": ("", r" (?:into|from|at|by)\b"),
    "suspended": (r"\b(?:a|the|given) $", r" (?:sentence|jail|prison|pending)"),
    "signed": (_BE + r"|\bhand$", r" (?:for|up|off|by|in|with|into|on|to|his|her|copy|shirt)\b"),
    "without": ("", r" (?:charge|\w+ing|any|being|trace|warning|it|a (?:win|doubt|trace))\b"),
    "inside": ("", r" (?:\d|the first|a week|information)|[.,]|$"),
    "outside": ("", r"[.,]|$"),
    "above": (r"\b(?:the|from|head and shoulders) $", r"[.,]|$"),
    "below": (r"\b(?:the|from) $", r"[.,]|$"),
    "near": (r"\b(?:draws?|drew|drawing|getting|the) $", r" (?![A-Z]|the\b|its\b|a\b)"),
    "leaving": (
        "",
        r" (?:him|her|them|more|some|\w+ (?:dead|injured|with|analysts)|pundits|at|behind|\d|two|three|four|five|many|hundreds|thousands)",
    ),
    "leave": (r"\b(?:on|sick|maternity|paternity|annual|will|a|of|to) $", r" (?:you|him|her|them|people|for|behind|it)|[.,]|$"),
    "accept": ("", r" that\b"),
    "backed": ("", r" (?:down|up|out|into|away)\b"),
    "backing": (r"\b(?:the|his|her|their|of|full|its) $", r" (?:for|from|of|band)|[.,]|$"),
    "agreed to": ("", _NOT_VERB),
    "refused to": ("", _NOT_VERB),
    "in favour of": (r"\bvot\w+ $", ""),
    "confirmed": ("", r" (?:as|his|her|their|cases?|for)\b|[.]"),
    "denied": (_BE, r" (?:him|her|them|access|bail|[A-Z]|by|a|any|the (?:chance|right|opportunity))\b"),
    "admitted": (_BE, r" to\b"),
    "able to": (r"\b(?:not|being) $", ""),
    "likely to": (r"\b(?:more|less|most|as|twice|least|not) $", ""),
    "unable to": (r"\bnot $", ""),
    "success": ("", r" story"),
    "found guilty": ("", r" (?:of|by)\b"),
    "arrested": ("", r" (?:on suspicion|over|in connection|and)"),
    "killed": ("", r" (?:himself|herself|themselves|off)|[^.]*\binjur"),
    "accused of": (r"\b(?:also|the) $", ""),
    "former": (r"\bthe $", ""),
    "current": ("", r"[.,s]"),
    "private": (r"\bin $", r" (?:parts|detective|eye)"),
    "national": ("", r" (?:park|service|anthem|insurance|grid|newspaper)"),
    "joined": (_BE, r" (?:forces|by|up|in|together|a|the (?:search|race|hunt|fight))\b"),
    "join": ("", r" (?:forces|up|in|together)\b"),
    "first half": (r"-$", ""),
    "north": ("", r"-"),
    "man": (r"\b(?:of the|old|one|best) $", r" of\b"),
    "children": ("", r"['’]"),
    "son": ("", r" of\b"),
    "women": ("", r" (?:MPs|in )"),
    "teenager": ("", r" [A-Z]"),
    "everyone": ("", r" (?:else|knows)"),
    "daily": ("", r" (?:life|abuse)"),
    "top of": (r"\b(?:on|over the) $", ""),
    "west": ("", r" (?:coast|end)"),
    "east": ("", r" coast"),
}


def _names(text: str) -> tuple[str, ...]:
    return tuple(name.strip() for name in text.replace("\n", "|").split("|") if name.strip())


CLASSES: dict[str, tuple[str, ...]] = {
    "country": _names("""
        Scotland|England|Wales|Northern Ireland|Ireland|Britain|France|Germany|Spain|Italy|Portugal|Belgium|Austria|Switzerland|Sweden
        Norway|Denmark|Finland|Iceland|Poland|Hungary|Romania|Bulgaria|Greece|Turkey|Cyprus|Malta|Russia|Ukraine|Serbia|Croatia|Bosnia
        Kosovo|Albania|Israel|Syria|Iraq|Iran|Yemen|Lebanon|Egypt|Libya|Tunisia|Algeria|Morocco|Sudan|South Sudan|Ethiopia|Somalia|Kenya
        Uganda|Rwanda|Tanzania|Zimbabwe|Zambia|Malawi|South Africa|Nigeria|Ghana|Cameroon|Mali|Senegal|Ivory Coast|Liberia|Sierra Leone
        Saudi Arabia|Qatar|Bahrain|Kuwait|Afghanistan|Pakistan|India|Bangladesh|Sri Lanka|Nepal|China|Japan|South Korea|North Korea|Taiwan
        Vietnam|Thailand|Malaysia|Indonesia|Singapore|Australia|New Zealand|Canada|Mexico|Brazil|Argentina|Chile|Colombia|Venezuela|Peru
        Cuba|Jamaica|Haiti|Estonia|Latvia|Lithuania|Slovakia|Slovenia|Uruguay|Ecuador|Bolivia
    """),
    "the country": _names("UK|US|United States|Netherlands|Philippines|Republic of Ireland|United Kingdom|Czech Republic|USSR|UAE"),
    "nationality": _names("""
        British|Scottish|English|Welsh|Irish|Northern Irish|French|German|Spanish|Italian|Portuguese|Belgian|Dutch|Austrian|Swiss|Swedish
        Norwegian|Danish|Finnish|Polish|Hungarian|Romanian|Bulgarian|Greek|Turkish|Russian|Ukrainian|Serbian|Croatian|Israeli|Palestinian
        Syrian|Iraqi|Iranian|Yemeni|Lebanese|Jordanian|Egyptian|Libyan|Tunisian|Algerian|Moroccan|Sudanese|Ethiopian|Somali|Kenyan|Ugandan
        Rwandan|Nigerian|Ghanaian|South African|Zimbabwean|Saudi|Afghan|Pakistani|Indian|Bangladeshi|Sri Lankan|Nepalese|Chinese|Japanese
        South Korean|North Korean|Taiwanese|Vietnamese|Thai|Malaysian|Indonesian|Australian|Canadian|American|Mexican|Brazilian|Argentine
        Chilean|Colombian|Venezuelan|Cuban|Jamaican|Bosnian|Icelandic|Burmese|Kurdish
    """),
    "city": _names("""
        London|Manchester|Birmingham|Liverpool|Leeds|Sheffield|Bristol|Newcastle|Sunderland|Nottingham|Leicester|Derby|Coventry|Hull
        Bradford|York|Oxford|Cambridge|Norwich|Ipswich|Southampton|Portsmouth|Plymouth|Exeter|Bath|Brighton|Reading|Swindon|Gloucester
        Worcester|Stoke|Wolverhampton|Walsall|Preston|Blackpool|Bolton|Wigan|Rotherham|Doncaster|Barnsley|Middlesbrough|Durham|Carlisle
        Cardiff|Swansea|Newport|Wrexham|Bangor|Aberystwyth|Glasgow|Edinburgh|Aberdeen|Dundee|Inverness|Perth|Stirling|Paisley|Kilmarnock
        Dumfries|Ayr|Falkirk|Kirkcaldy|Motherwell|Belfast|Londonderry|Derry|Armagh|Lisburn|Newry|Craigavon|Omagh|Dublin|Cork|Galway|Paris
        Calais|Lyon|Marseille|Brussels|Amsterdam|Berlin|Munich|Hamburg|Vienna|Zurich|Geneva|Madrid|Barcelona|Lisbon|Rome|Milan|Athens
        Istanbul|Ankara|Moscow|Kiev|Warsaw|Budapest|Prague|Stockholm|Oslo|Copenhagen|Helsinki|Jerusalem|Gaza|Damascus|Aleppo|Homs|Baghdad
        Mosul|Tehran|Kabul|Kandahar|Karachi|Lahore|Islamabad|Delhi|Mumbai|Dhaka|Kathmandu|Colombo|Beijing|Shanghai|Hong Kong|Tokyo|Seoul
        Bangkok|Manila|Jakarta|Sydney|Melbourne|Auckland|Cairo|Tripoli|Benghazi|Tunis|Nairobi|Mogadishu|Lagos|Abuja|Kampala|Johannesburg
        Cape Town|Harare|New York|Washington|Chicago|Boston|Los Angeles|San Francisco|Las Vegas|Miami|Houston|Dallas|Toronto|Rio|Sao Paulo
        Buenos Aires|Hastings|Dover|Luton|Watford|Northampton|Peterborough|Grimsby|Scunthorpe|Bournemouth|Torquay|Truro|Taunton|Cheltenham
        Shrewsbury|Chester|Crewe|Burnley|Blackburn|Oldham|Rochdale|Stockport|Huddersfield|Halifax|Wakefield|Harrogate|Scarborough
        Darlington|Hartlepool|Gateshead|Llandudno|Rhyl|Merthyr Tydfil|Llanelli|Greenock|Livingston|Colchester|Chelmsford|Southend
        Canterbury|Maidstone|Crawley|Guildford|Slough|Stevenage|Bedford|Milton Keynes|Telford|Stafford|Mansfield
    """),
    "county": _names("""
        Kent|Sussex|Surrey|Hampshire|Dorset|Devon|Cornwall|Somerset|Wiltshire|Berkshire|Oxfordshire|Buckinghamshire|Essex|Suffolk|Norfolk
        Cambridgeshire|Bedfordshire|Hertfordshire|Northamptonshire|Leicestershire|Lincolnshire|Nottinghamshire|Derbyshire|Staffordshire
        Shropshire|Cheshire|Lancashire|Merseyside|Greater Manchester|Cumbria|Northumberland|County Durham|Yorkshire|West Yorkshire
        Middlesex|North Yorkshire|South Yorkshire|East Yorkshire|Worcestershire|Warwickshire|Gloucestershire|Herefordshire|West Midlands
        Glamorgan|Gwynedd|Powys|Ceredigion|Pembrokeshire|Carmarthenshire|Monmouthshire|Conwy|Flintshire|Denbighshire|Anglesey|Fife|Moray
        Aberdeenshire|Ayrshire|Lanarkshire|South Lanarkshire|North Lanarkshire|East Lothian|West Lothian|Midlothian|Shetland|Orkney
        Caithness|County Antrim|County Down|County Armagh|County Tyrone|County Londonderry|County Fermanagh|County Cork|County Donegal
        County Meath|West Sussex|East Sussex|Renfrewshire|Perthshire|Argyll|Stirlingshire|Dumfriesshire|Tyneside|Teesside
    """),
    "state": _names("California|Texas|Florida|Ohio|Oregon|Nevada|Arizona|Virginia|Maryland|Michigan|Illinois|Iowa|Missouri|Alabama|Utah"),
    "football team": _names("""
        Arsenal|Chelsea|Everton|Liverpool|Tottenham|Tottenham Hotspur|Manchester United|Manchester City|West Ham|West Ham United
        Southampton|Sunderland|Newcastle|Newcastle United|Aston Villa|Leicester|Leicester City|Norwich|Norwich City|Crystal Palace|Swansea
        Swansea City|Watford|Bournemouth|Stoke|Stoke City|West Brom|West Bromwich Albion|Burnley|Hull|Hull City|Middlesbrough|Derby
        Derby County|Cardiff|Cardiff City|Leeds|Leeds United|Wolves|Fulham|Brentford|Ipswich|Ipswich Town|Birmingham City
        Nottingham Forest|Sheffield Wednesday|Sheffield United|Rotherham|Rotherham United|Barnsley|Burton Albion|Bolton|Bolton Wanderers
        Blackburn|Blackburn Rovers|Preston|Reading|Bristol City|Bristol Rovers|Brighton|Huddersfield|Huddersfield Town|Wigan
        Wigan Athletic|Charlton|Charlton Athletic|Millwall|Walsall|Coventry City|Colchester|Colchester United|Oxford United|Swindon
        Swindon Town|Bradford City|Oldham|Oldham Athletic|Newport County|Wrexham|Chester|Luton|Luton Town|Portsmouth|Plymouth Argyle
        Exeter City|Mansfield|Mansfield Town|Grimsby|Grimsby Town|Southport|Celtic|Rangers|Hearts|Hibernian|Aberdeen|Dundee|Dundee United
        Kilmarnock|Motherwell|St Johnstone|Partick Thistle|Ross County|Hamilton Academical|Inverness CT|St Mirren|Falkirk
        Queen of the South|Livingston|Dunfermline|Raith Rovers|Greenock Morton|Ayr United|Brechin City|Stranraer|Barcelona|Real Madrid
        Bayern Munich|Juventus|Inter Milan|AC Milan|Benfica|Ajax|Monaco|Crawley Town|Cheltenham Town|Stevenage|Wycombe|Wycombe Wanderers
        Notts County|Port Vale|Crewe|Gillingham|Peterborough|Scunthorpe
    """),
    "rugby team": _names("""
        Wasps|Harlequins|Saracens|Bath|Gloucester|Northampton|Leicester Tigers|Sale Sharks|Exeter Chiefs|Worcester Warriors|London Irish
        Scarlets|Ospreys|Cardiff Blues|Dragons|Ulster|Munster|Leinster|Connacht|Glasgow Warriors|Bristol|Newcastle Falcons|Toulon
    """),
    "league team": _names("""
        Leeds Rhinos|St Helens|Warrington Wolves|Wigan Warriors|Hull KR|Hull FC|Castleford|Catalans Dragons|Salford|Widnes|Wakefield
        Huddersfield Giants
    """),
    "county team": _names("""
        Surrey|Middlesex|Lancashire|Yorkshire|Kent|Essex|Hampshire|Durham|Somerset|Sussex|Warwickshire|Nottinghamshire|Derbyshire
        Worcestershire|Gloucestershire|Glamorgan|Northamptonshire|Leicestershire
    """),
    "racing team": _names("Mercedes|Ferrari|Red Bull|McLaren|Renault|Force India|Sauber"),
    "company": _names("""
        Apple|Google|Microsoft|Samsung|Facebook|Twitter|Amazon|Sony|Nintendo|Nokia|Huawei|HTC|Intel|IBM|Yahoo|Uber|Netflix|Tesla|Toyota
        Honda|Nissan|Volkswagen|BMW|Ford|Renault|Boeing|Airbus|Ryanair|Easyjet|Tesco|Asda|Morrisons|Waitrose|Lidl|Aldi|BP|Shell|Barclays
        HSBC|Lloyds|Santander|Vodafone|BT|TalkTalk|LG|Motorola|BlackBerry|Alibaba|Panasonic|Toshiba|Dell|Lenovo|eBay|Instagram|WhatsApp
    """),
    "party": _names("Labour|UKIP|Plaid Cymru|Sinn Fein"),
    "the party": _names("SNP|DUP|SDLP|UUP|Conservatives|Liberal Democrats|Lib Dems|Greens|Tories"),
    "party leader": _names("Republican|Democrat|Conservative|Liberal Democrat|Tory"),
    "body": _names("UN|EU|IMF|European Union|United Nations|World Bank|European Commission|FBI|CIA|NSA|BBC|World Health Organization"),
    "governing body": _names("Fifa|Uefa|IOC|IAAF|Wada|World Rugby"),
    "religion": _names("Muslim|Christian|Jewish|Hindu|Sikh|Catholic|Protestant|Buddhist"),
}
PLACES = ("country", "the country", "nationality", "city", "county", "state")

# Names of one thing, or of a whole and its parts: exchanged for one another, a sentence may stay true.
SAME = [frozenset(_names(names)) for names in """
    UK|United Kingdom|Britain|Northern Ireland; Britain|England; Britain|Scotland; Britain|Wales; Ireland|Northern Ireland; US|United States
    British|English; British|Scottish; British|Welsh; British|Northern Irish; Irish|Northern Irish; USSR|Russia; Washington|New York
    EU|European Union|European Commission; UN|United Nations|World Health Organization; Conservatives|Tories; Conservative|Tory
    Liberal Democrats|Lib Dems; Londonderry|Derry; Christian|Catholic|Protestant; Sussex|West Sussex|East Sussex
    Yorkshire|West Yorkshire|North Yorkshire|South Yorkshire|East Yorkshire; Lanarkshire|South Lanarkshire|North Lanarkshire
""".strip().replace("\n", ";").split(";")]  # fmt: skip

# Last words of names of like things: "EFL Cup" may be exchanged for "FA Cup".
HEADS = frozenset(
    """
    City Town County Rovers Athletic Albion Wanderers Police Council University College School Hospital Court Airport Party League Cup
    Championship Premiership Open Prix Street Road Park Station Bridge Festival Agency Authority Trust Service Commission Committee
    Institute Association Federation Union Bank Group Museum Gallery Theatre Castle River Island Islands Lake Academy Stadium Assembly
    Parliament Army Airlines Awards Olympics Games Tour Championships Masters Society Foundation Centre Office Department Ministry
""".split()
)

# Words that stand before a person's name and are no part of it.
TITLES = frozenset(
    """
    Mr Mrs Ms Miss Dr Sir Dame Lord Lady Prof Professor President Chancellor Judge Justice Inspector Det Insp Supt Ch Sgt Con PC Cllr
    Councillor Minister Secretary Captain MP MSP AM MEP Coach Manager Chief Constable Superintendent Detective Sergeant Prime First Deputy
    Mayor Prince Princess General Gen Col Colonel Major Capt Lt Rev Reverend Bishop Archbishop Senator Governor Vice Former Home Foreign
    Health Education Defence Culture Transport Shadow Commissioner Speaker Sheriff Chairman Director Head Imam Sheikh Ambassador Editor
    Officer Leader Actor Actress Author Congressman Commander Canon Cardinal Baroness Coroner
""".split()
)

# Last words of names that begin like a person's: the Andrew Marr Show, Rodney Parade.
PLACE_ENDS = frozenset(
    """
    Show Parade Springs Novices Hospice Arms Way Lane Avenue Close Drive Terrace Place Square Hall Hotel Ground Trophy Chase Stakes Bowl
    Films Prize Law Act Bill Award Pier Inn Cottage Works Building Tower Memorial Van House Gardens Crescent Fund Ltd Report Review Plan
    Cross Infirmary Cathedral Abbey Stand Arena Beach Bay Hill Hills Valley Wood Woods Mills Sr Jr
""".split()
)

# Beginnings of words of summaries that accuse or bury somebody: no other name is put into these, and no denial is taken back.
_ACCUSING = r"""
    jail prison guilt charg abus murder arrest court trial fraud dop drug rap(?:e|ist) sex assault racis kill die[ds]?\b dead death terror
    crim accus alleg steal stole theft thief robb attack stab shoot shot\b violen suicid corrupt brib offen[cs] convict sentenc banned
    suspend sack cheat scandal harass porn indecent manslaughter smuggl traffick extremis cancer funeral tribute misconduct investigat
    police inquest coroner lawsuit sued?\b prosecut posthum victim insult apolog resign plot burgl weapon threat
"""
ACCUSES = re.compile(rf"\b(?:{'|'.join(_ACCUSING.split())})", re.IGNORECASE)

# First names; a person whose first name is not among them counts only if "Mr", "Ms" and the like stand before the last one in the document.
GIVEN = frozenset(
    """
    Aaron Abdul Abdullah Adam Adel Adrian Ahmed Aidan Aiden Alan Alana Alastair Albert Alberto Alessandro Alex Alexander Alexandra Alexis
    Alfred Ali Alice Alison Alistair Allan Ally Alun Amanda Amber Amy Ana Anas Andre Andrea Andreas Andres Andrew Andy Angela Angus Anita
    Ann Anna Anne Anthony Anton Antonio Antony Anwen Arlene Arsene Arthur Ashleigh Ashley Austin Barack Barbara Barry Ben Benjamin Bernard
    Bernie Beth Bethany Bill Billy Bob Bobby Boris Brad Bradley Brandon Brendan Brett Brian Bruce Bruno Bryan Calum Callum Cameron Cammy
    Carl Carla Carlo Carlos Carol Caroline Carwyn Catherine Catriona Ched Charles Charlie Charlotte Cherie Chloe Chris Christian Christine
    Christopher Ciaran Claire Clare Claudio Cliff Clive Colin Connor Conor Corey Craig Cristiano Curtis Dale Damian Damien Dan Daniel Danny
    Darren Dave David Davie Dean Debbie Deborah Declan Denis Dennis Derek Diana Diane Dick Diego Dominic Don Donald Donna Dorothy Doug
    Douglas Drew Duncan Dwayne Dylan Ed Eddie Edward Edwin Eilidh Elaine Eleanor Elizabeth Ellen Ellie Elliot Elliott Emily Emma Emmanuel
    Eric Erin Ethan Evan Eva Ewan Fatima Fernando Finlay Fiona Florian Frances Francesco Francis Francois Frank Frankie Fraser Fred Freddie
    Gareth Garry Gary Gavin Gemma Geoff Geoffrey George Georgia Gerald Gerard Gerry Gianni Gillian Glen Glenn Gordon Graeme Graham Greg
    Gregor Guy Hannah Harold Harriet Harry Hassan Hayley Hazel Heather Heidi Helen Helena Henry Hillary Holly Howard Hugh Hugo Humza Iain
    Ian Imran Irene Isaac Isabel Ivan Izzy Jack Jackie Jacob Jacqueline Jacques Jade Jake James Jamie Jan Jana Jane Janet Jason Javier Jay
    Jean Jeff Jennifer Jenny Jeremy Jermaine Jerome Jess Jesse Jessica Jill Jim Jimmy Jo Joan Joanna Joanne Jodie Joe Joel Joey Johan
    Johanna John Johnny Jon Jonathan Jonny Jordan Jorge Jose Joseph Josh Joshua Juan Judith Judy Julia Julian Julie Juliet June Jurgen
    Justin Kane Karen Karl Kate Katherine Kathleen Kathryn Kathy Katie Katrina Kay Keith Kellie Kelly Ken Kenneth Kenny Kerry Kevin Kezia
    Kieran Kim Kirsty Kris Kurt Kyle Lara Laura Lauren Laurent Lee Len Leo Leon Leonard Leonardo Lesley Lewis Liam Lily Linda Lindsay
    Lionel Lisa Liz Lloyd Lorraine Louis Louise Luca Lucas Lucy Luis Luke Lynn Lynne Maggie Malcolm Mandy Manuel Marc Marco Marcus Margaret
    Maria Mariano Marie Mario Marion Mark Martha Martin Martyn Mary Mathew Matt Matteo Matthew Maureen Maurice Mauricio Max Megan Melanie
    Mervyn Michael Michel Michelle Mick Miguel Mike Milos Mo Mohamed Mohammad Mohammed Molly Monica Muhammad Naomi Natalie Natasha Nathan
    Neil Nick Nicky Nico Nicola Nicolas Nicole Nigel Nina Noel Norman Oliver Olivia Ollie Oscar Owen Pablo Pam Pamela Patricia Patrick Paul
    Paula Pauline Pedro Pep Pete Peter Phil Philip Philippa Phillip Pierre Rachel Rafael Ralph Ray Raymond Rebecca Reece Rhys Ricardo
    Richard Rick Ricky Rob Robbie Robert Roberto Robin Robyn Rodney Rodrigo Roger Roman Ron Ronald Ronnie Rory Rose Rosemary Rosie Roy
    Russell Ruth Ryan Sadiq Sally Sam Samantha Samuel Sandra Sandro Sara Sarah Scott Sean Sebastian Sergey Sergio Shane Shannon Sharon
    Shaun Shirley Simon Sofia Sophia Sophie Spencer Stacey Stan Stefan Stella Stephanie Stephen Steve Steven Stewart Stuart Sue Susan Susie
    Suzanne Sylvia Tara Ted Terry Theresa Thierry Thomas Tim Timothy Tina Toby Tom Tomas Tommy Tony Tracey Trevor Valerie Vera Vernon Vicky
    Victor Vincent Vladimir Walter Warren Wayne Wendy Wesley Will William Willie Winston Xavi Yasmin Yvette Yvonne Zac Zach Zoe
""".split()
)

# Words that begin a sentence in capitals without being part of the name that follows.
OPENERS = frozenset(
    """
    The A An In On At And But For With From By Of To As It He She They We I You This That These Those There Here When While After Before
    His Her Its Their Our My Your What Who Which Where Why How If So Then Now Also Only Both Some Many Most Other Another All Any Each One
    Two Three Four Five Six Seven Eight Nine Ten However Meanwhile Although Though Because Since Until During About More Last Next No Yes
    Under Against Following According Despite Earlier Former Fellow Like Among Across Around Between Through Leader Part Promoted Senior
""".split()
)
