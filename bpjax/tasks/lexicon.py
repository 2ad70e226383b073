"""The lexicon of the embedded task, as data.

Common words and names only: nearly all are single word pieces of an English BERT vocabulary.
"""


def _words(text: str) -> tuple[str, ...]:
    """Splits at white space."""
    return tuple(text.split())


def _phrases(text: str) -> tuple[str, ...]:
    """Splits at bars and takes line breaks for spaces."""
    return tuple(" ".join(phrase.split()) for phrase in text.split("|"))


POOLS: dict[str, tuple[str, ...]] = {
    "city": _words("""
        Paris London Berlin Madrid Rome Vienna Dublin Moscow Tokyo Chicago Boston Denver Seattle
        Dallas Houston Toronto Montreal Sydney Melbourne Cairo Lisbon Prague Warsaw Budapest
        Athens Oslo Stockholm Helsinki Brussels Amsterdam Geneva Milan Venice Naples Barcelona
        Edinburgh Glasgow Manchester Liverpool Oxford Cambridge Bristol Mumbai Delhi Shanghai
        Manila Havana Lima Istanbul
    """),
    "country": _words("""
        France Spain Italy Germany Poland Norway Sweden Finland Denmark Portugal Greece Turkey
        Egypt Morocco Kenya Nigeria India China Japan Korea Vietnam Thailand Indonesia Australia
        Canada Mexico Cuba Brazil Argentina Chile Peru Colombia Iceland Ireland Scotland Austria
        Hungary Romania
    """),
    "month": _words("""
        January February March April May June July August September October November December
    """),
    "weekday": _words("Monday Tuesday Wednesday Thursday Friday Saturday Sunday"),
    "job": _phrases("""
        doctor | lawyer | teacher | nurse | farmer | baker | painter | journalist | pilot | sailor
        | judge | soldier | carpenter | chemist | musician | singer | dancer | photographer |
        librarian | police officer | mining engineer | school inspector | ship builder | railway
        engineer | film director | bank manager | fashion designer | museum guide | travel writer
        | news editor
    """),
    "field": _phrases("""
        law | medicine | history | chemistry | physics | biology | mathematics | philosophy |
        music | geography | economics | astronomy | modern art | ancient Greek | computer science
        | political science | civil engineering | Roman history
    """),
    "material": _phrases("""
        stone | red brick | white marble | steel | glass | iron | concrete | oak | pine wood |
        green copper | dark granite | grey slate
    """),
    "vehicle": _phrases("""
        train | bus | bicycle | plane | boat | horse | truck | car | motorcycle | canoe | ferry |
        sailing ship | hot air balloon | mail plane | night train | fishing boat | school bus |
        cargo ship
    """),
    "adjective": _words("""
        small old large silver golden wooden broken blue red green black white heavy rare tiny
        beautiful strange painted round ancient
    """),
    "thing": _words("""
        ring box lamp clock table chair mirror knife map bell drum vase carpet coin statue mask
        book crown sword guitar violin camera telescope basket blanket
    """),
    "product": _phrases("""
        shoes | paper | bread | furniture | bicycles | cheese | soap | candles | watches | pianos
        | radios | toys | bottles | hats | cameras | steel pipes | glass windows | electric motors
        | leather bags | garden tools | cotton shirts | farm machines
    """),
    "animal": _words("cat dog horse parrot goat rabbit snake turtle fox owl donkey monkey"),
    "color": _words("red blue green white black yellow orange purple brown silver"),
    "scene": _phrases("""
        a storm at sea | two sleeping children | a quiet village | a battle in the snow | a bowl
        of fruit | an empty street | an old king | a wedding dance | a herd of horses | a burning
        ship | three fishermen | a garden in spring | a mountain lake | a crowded market | a woman
        with a letter | a railway station at night
    """),
    "food": _phrases("""
        roasted chestnuts | apple cake | fish soup | black bread | honey wine | sheep cheese |
        grilled corn | cherry jam | onion pie | smoked ham | rice balls | lemon ice | potato salad
        | pumpkin soup | spiced tea | fried mushrooms
    """),
    "number": _words("""
        two three four five six seven eight nine ten eleven twelve fifteen twenty thirty forty
        fifty
    """),
    "male": _words("""
        James John Robert Michael William David Richard Joseph Thomas Charles Daniel Matthew
        Anthony Mark Paul Steven Andrew Kenneth George Joshua Kevin Brian Edward Peter Henry
        Arthur Walter Frank Samuel Simon Oscar Victor Martin Philip Hugo Leo
    """),
    "female": _words("""
        Mary Patricia Jennifer Linda Elizabeth Barbara Susan Jessica Sarah Karen Nancy Lisa
        Margaret Sandra Ashley Emily Donna Michelle Carol Amanda Laura Anna Helen Alice Julia Emma
        Grace Clara Rose Ruth Maria Sophie Jane Kate Eva Nora
    """),
    "family": _words("""
        Smith Johnson Brown Jones Miller Davis Wilson Anderson Taylor Moore Jackson Martin
        Thompson Clark Lewis Walker Hall Allen Wright Scott Hill Adams Baker Nelson Carter
        Mitchell Roberts Turner Phillips Campbell Parker Evans Edwards Collins Stewart Morris
        Murphy Cook Rogers Cooper Peterson Reed Bailey Kelly Howard Ward Watson Bennett Gray
        Hughes Price Sanders Foster Russell Griffin Hayes
    """),
    "company_first": _words("""
        Northern Southern Eastern Western Royal Golden Silver Atlantic Pacific Central Union
        National Summit River Mountain Valley Harbor Liberty Crystal Phoenix
    """),
    "company_last": _words("Works Mills Brothers Motors Press Tools Goods Trading Supply Designs"),
    "team": _words("United Rovers Stars Lions Eagles Giants"),
    "title_first": _words("""
        Silent Broken Hidden Lost Golden Dark Last First Distant Burning Frozen Secret Empty
        Endless Blue Crimson
    """),
    "title_last": _words("""
        Harbor Garden River Window Bridge Journey Winter Summer Forest Tower Mirror Road Island
        Shadow Morning Song
    """),
    "place_first": _words("""
        Stone Oak Green White Black Long Spring Clear Red High Bright Deep Fox Wolf Eagle Cedar
    """),
    "place_last": _words("Hill Creek Valley Point Bridge Park Lake Falls Grove Field"),
}
