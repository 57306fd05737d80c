"""The words that the shop's data is made of."""

from __future__ import annotations


def _words(text: str) -> list[str]:
    return text.split()


DEPARTMENTS: dict[str, dict[str, tuple[str, ...]]] = {
    "Kitchen": {
        "Cookware": ("Saucepan", "Frying Pan", "Casserole", "Wok", "Roasting Tin"),
        "Coffee & Tea": ("Kettle", "Coffee Grinder", "Teapot", "Moka Pot", "Milk Jug"),
        "Knives": ("Chef's Knife", "Bread Knife", "Paring Knife", "Knife Block"),
        "Baking": ("Cake Tin", "Mixing Bowl", "Rolling Pin", "Proving Basket"),
    },
    "Living Room": {
        "Lighting": ("Desk Lamp", "Floor Lamp", "Pendant Light", "Reading Lamp"),
        "Textiles": ("Wool Throw", "Cushion", "Rug", "Curtain Pair"),
        "Shelving": ("Bookcase", "Wall Shelf", "Magazine Rack", "Sideboard"),
        "Decoration": ("Vase", "Wall Clock", "Mirror", "Candle Holder"),
    },
    "Bedroom": {
        "Bedding": ("Duvet Cover", "Pillowcase", "Fitted Sheet", "Quilt"),
        "Storage": ("Blanket Box", "Wardrobe Rail", "Drawer Divider", "Laundry Basket"),
        "Nightwear": ("Pyjama Set", "Dressing Gown", "Slippers", "Nightshirt"),
        "Alarm Clocks": ("Alarm Clock", "Sunrise Lamp", "Travel Clock"),
    },
    "Garden": {
        "Hand Tools": ("Trowel", "Pruning Shears", "Hand Fork", "Dibber", "Hoe"),
        "Pots & Planters": ("Planter", "Seed Tray", "Hanging Basket", "Window Box"),
        "Watering": ("Watering Can", "Hose Reel", "Rain Barrel", "Plant Mister"),
        "Outdoor Living": ("Folding Chair", "Fire Bowl", "Parasol", "Picnic Table"),
    },
    "Outdoors": {
        "Tents & Shelter": ("Two-Person Tent", "Tarp", "Hammock", "Groundsheet"),
        "Packs": ("Daypack", "Trekking Pack", "Dry Bag", "Hip Pack"),
        "Camp Kitchen": ("Camp Stove", "Enamel Mug", "Cook Set", "Water Filter"),
        "Navigation": ("Compass", "Map Case", "Head Torch", "Altimeter"),
    },
    "Clothing": {
        "Jackets": ("Rain Jacket", "Down Jacket", "Fleece", "Wax Jacket"),
        "Knitwear": ("Fisherman's Jumper", "Cardigan", "Beanie", "Scarf"),
        "Trousers": ("Walking Trousers", "Corduroys", "Shorts", "Overtrousers"),
        "Footwear": ("Walking Boots", "Wellingtons", "Trail Shoes", "Clogs"),
    },
    "Workshop": {
        "Power Tools": ("Cordless Drill", "Jigsaw", "Sander", "Heat Gun"),
        "Measuring": ("Tape Measure", "Spirit Level", "Try Square", "Calliper"),
        "Fixings": ("Screw Set", "Wall Plug Set", "Hook Set", "Bracket Pair"),
        "Workwear": ("Apron", "Knee Pads", "Work Gloves", "Overalls"),
    },
    "Play": {
        "Wooden Toys": ("Train Set", "Building Blocks", "Stacking Rings", "Pull-Along Duck"),
        "Board Games": ("Chess Set", "Draughts", "Word Game", "Memory Game"),
        "Craft": ("Paint Box", "Modelling Clay", "Loom", "Sketchbook"),
        "Outdoor Play": ("Kite", "Skipping Rope", "Swing", "Croquet Set"),
    },
}
"""Each department, its categories, and what is sold in each."""

QUALITIES = _words(
    "Classic Compact Folding Everyday Heritage Lightweight Large Small Nordic Original Professional "
    "Quiet Rustic Slim Studio Sturdy Traditional Travel Weekend Winter"
)
MATERIALS = _words(
    "Ash Bamboo Beech Brass Canvas Cast-Iron Ceramic Copper Cork Cotton Enamel Felt Glass Leather Linen "
    "Oak Recycled Steel Stoneware Walnut Wool"
)
COLOURS = _words("Black Blue Chalk Clay Forest Grey Indigo Mustard Natural Navy Olive Plum Red Sand Slate White")
SIZES = ["Small", "Medium", "Large", "Extra-Large"]
TAGS = _words(
    "bestseller camping carbon-neutral children dishwasher-safe eco fair-trade family gift handmade "
    "indoor limited local minimal new-season organic outdoor plastic-free rainproof recycled repairable "
    "sale seasonal small-batch spare-parts summer travel vegan vintage winter"
)
COUNTRIES = _words("Denmark England Finland France Germany Ireland Italy Japan Norway Portugal Scotland Sweden Wales")
BRAND_STEMS = _words(
    "Alder Birk Calder Dale Elm Fell Glen Harrow Isle Juniper Kestrel Larch Moor Nore Orchard Pike "
    "Quarry Rowan Sedge Tarn"
)
BRAND_ENDS = ("& Sons", "Works", "Supply")
FIRST_NAMES = _words(
    "Ada Aisha Anders Beth Carlos Chloe Daniel Elif Emma Fatima Finn Grace Hana Hugo Ines Ivan Jack "
    "Jana Kofi Lars Leila Lucia Maja Marco Mei Nadia Noah Olga Omar Petra Priya Rosa Ruth Sami Sven "
    "Tara Tomas Uma Viktor Yuki"
)
LAST_NAMES = _words(
    "Ahmed Andersen Baker Bauer Brown Chen Costa Davies Dubois Evans Fischer Garcia Green Hansen Hughes "
    "Ito Jensen Jones Kaya Khan Kowalski Larsen Lopez Martin Meyer Moreau Murphy Nguyen Novak Okafor "
    "Olsen Patel Price Rossi Santos Schmidt Singh Smith Taylor Walker"
)
CITIES = _words(
    "Aberdeen Bath Belfast Birmingham Bristol Cambridge Cardiff Cork Derby Dublin Dundee Edinburgh "
    "Exeter Galway Glasgow Leeds Liverpool London Manchester Newcastle Norwich Oxford Plymouth "
    "Sheffield Swansea York"
)
OPINIONS = {
    1: ("Broke in a week", "Not as described", "Sent it back"),
    2: ("Disappointing", "Smaller than it looks", "Good idea, poor finish"),
    3: ("Does the job", "Fair for the price", "Neither good nor bad"),
    4: ("Very pleased", "Nearly perfect", "Well made"),
    5: ("Would buy again", "Exactly what I wanted", "A joy to use", "Best I have owned"),
}
"""Titles of reviews, by stars."""
SENTENCES = (
    "It arrived two days early and well packed.",
    "The finish is better than in the pictures.",
    "I use it nearly every day and it shows no wear.",
    "The colour is a little darker than I expected.",
    "My sister liked it so much that she ordered one too.",
    "The instructions could be clearer, but it took ten minutes.",
    "It replaced one that I had for twenty years.",
    "For the price there is nothing better.",
    "I wish that it came in more sizes.",
    "The seller answered my question the same evening.",
    "It has survived a winter outside without a mark.",
    "A small dent in the box, none in what was in it.",
)
SELLING_POINTS = (
    "Made in small batches by people who have done little else for a generation.",
    "Each piece is checked by hand before it leaves the workshop.",
    "The material is chosen for how it ages rather than for how it looks on the first day.",
    "Spare parts are kept in stock for at least ten years, and fitting them needs no special tools.",
    "It packs flat, weighs little, and comes in a box that can be used again.",
    "Designed with advice from those who work with it every day.",
    "Wipe it clean with a damp cloth; an occasional drop of oil keeps it as new.",
    "The joints are glued and screwed, so that nothing comes loose.",
    "Tested through a whole season in rain, frost and strong sun.",
    "Comes with a two-year guarantee and a leaflet on care and repair.",
    "No plastic is used in the packaging, and none where it can be avoided in the product.",
    "Its proportions follow a pattern that has hardly changed since the thirties.",
)
