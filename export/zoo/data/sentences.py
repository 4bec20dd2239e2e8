"""Three everyday sentences in each of thirty languages, written for this project: where a place is, the weather, a
wish."""

from collections.abc import Mapping

SENTENCES: Mapping[str, tuple[str, ...]] = {
    "ar": ("أين أقرب محطة قطار؟", "الطقس جميل جدا اليوم.", "أريد فنجان قهوة بدون سكر من فضلك."),
    "bg": ("Къде е най-близката гара?", "Днес времето е много хубаво.", "Искам чаша кафе без захар, моля."),
    "bn": ("সবচেয়ে কাছের রেলস্টেশন কোথায়?", "আজ আবহাওয়া খুব সুন্দর।", "আমি চিনি ছাড়া এক কাপ কফি চাই।"),
    "cs": ("Kde je nejbližší nádraží?", "Dnes je velmi hezké počasí.", "Dal bych si šálek kávy bez cukru, prosím."),
    "de": (
        "Wo ist der nächste Bahnhof?",
        "Heute ist das Wetter sehr schön.",
        "Ich hätte gern eine Tasse Kaffee ohne Zucker.",
    ),
    "el": (
        "Πού είναι ο κοντινότερος σταθμός;",
        "Ο καιρός είναι πολύ ωραίος σήμερα.",
        "Θα ήθελα έναν καφέ χωρίς ζάχαρη, παρακαλώ.",
    ),
    "en": (
        "Where is the nearest train station?",
        "The weather is very nice today.",
        "I would like a cup of coffee without sugar, please.",
    ),
    "es": (
        "¿Dónde está la estación más cercana?",
        "Hoy hace muy buen tiempo.",
        "Quisiera una taza de café sin azúcar, por favor.",
    ),
    "fa": ("نزدیک‌ترین ایستگاه قطار کجاست؟", "امروز هوا خیلی خوب است.", "لطفاً یک فنجان قهوه بدون شکر می‌خواهم."),
    "fi": (
        "Missä on lähin rautatieasema?",
        "Tänään on todella kaunis sää.",
        "Haluaisin kupin kahvia ilman sokeria, kiitos.",
    ),
    "fr": (
        "Où est la gare la plus proche ?",
        "Il fait très beau aujourd’hui.",
        "Je voudrais une tasse de café sans sucre, s’il vous plaît.",
    ),
    "he": ("איפה תחנת הרכבת הקרובה?", "מזג האוויר יפה מאוד היום.", "אני רוצה כוס קפה בלי סוכר, בבקשה."),
    "hi": ("सबसे नज़दीकी रेलवे स्टेशन कहाँ है?", "आज मौसम बहुत अच्छा है।", "मुझे बिना चीनी की एक कप कॉफ़ी चाहिए।"),
    "hu": ("Hol van a legközelebbi pályaudvar?", "Ma nagyon szép idő van.", "Kérek egy csésze kávét cukor nélkül."),
    "id": ("Di mana stasiun kereta terdekat?", "Cuaca hari ini sangat bagus.", "Saya mau secangkir kopi tanpa gula."),
    "it": (
        "Dov’è la stazione più vicina?",
        "Oggi il tempo è molto bello.",
        "Vorrei una tazza di caffè senza zucchero, per favore.",
    ),
    "ja": ("一番近い駅はどこですか。", "今日はとてもいい天気です。", "砂糖なしのコーヒーを一杯ください。"),
    "ko": ("가장 가까운 기차역이 어디예요?", "오늘 날씨가 아주 좋아요.", "설탕 없이 커피 한 잔 주세요."),
    "nl": (
        "Waar is het dichtstbijzijnde station?",
        "Het is vandaag erg mooi weer.",
        "Ik wil graag een kopje koffie zonder suiker.",
    ),
    "pl": ("Gdzie jest najbliższy dworzec?", "Dziś jest bardzo ładna pogoda.", "Poproszę filiżankę kawy bez cukru."),
    "pt": (
        "Onde fica a estação mais próxima?",
        "Hoje o tempo está muito bom.",
        "Eu queria uma xícara de café sem açúcar, por favor.",
    ),
    "ro": (
        "Unde este cea mai apropiată gară?",
        "Astăzi vremea este foarte frumoasă.",
        "Aș dori o ceașcă de cafea fără zahăr, vă rog.",
    ),
    "ru": (
        "Где находится ближайший вокзал?",
        "Сегодня очень хорошая погода.",
        "Я хотел бы чашку кофе без сахара, пожалуйста.",
    ),
    "sv": (
        "Var ligger närmaste järnvägsstation?",
        "Det är väldigt fint väder i dag.",
        "Jag skulle vilja ha en kopp kaffe utan socker, tack.",
    ),
    "ta": ("அருகிலுள்ள ரயில் நிலையம் எங்கே உள்ளது?", "இன்று வானிலை மிகவும் நன்றாக உள்ளது.", "சர்க்கரை இல்லாமல் ஒரு கோப்பை காபி வேண்டும்."),
    "th": ("สถานีรถไฟที่ใกล้ที่สุดอยู่ที่ไหน", "วันนี้อากาศดีมาก", "ขอกาแฟหนึ่งแก้วไม่ใส่น้ำตาล"),
    "tr": ("En yakın tren istasyonu nerede?", "Bugün hava çok güzel.", "Şekersiz bir fincan kahve istiyorum, lütfen."),
    "uk": ("Де найближчий вокзал?", "Сьогодні дуже гарна погода.", "Я хотів би чашку кави без цукру, будь ласка."),
    "vi": ("Ga tàu gần nhất ở đâu?", "Hôm nay thời tiết rất đẹp.", "Cho tôi một tách cà phê không đường."),
    "zh": ("最近的火车站在哪里？", "今天天气很好。", "我想要一杯不加糖的咖啡。"),
}
"""Language -> its sentences."""
