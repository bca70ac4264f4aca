"""Makes demo.pdf, the handbook of `cargo local demo`: four pages, English and Persian, about a company that does not exist.

Run in a virtual environment of its own; nothing else in the project needs these packages:

    pip install fpdf2==2.8.9 uharfbuzz==0.57.0 fonttools==4.68.0 fontpkg-noto-sans==2.15 \
        fontpkg-ibm-plex-sans-arabic==1.101
    python make_demo.py demo.pdf

Noto Sans and IBM Plex Sans Arabic are under the SIL Open Font License 1.1; only the glyphs that are used are embedded, each with its
ToUnicode entry, so that the text can be copied and extracted.
"""

import datetime
import importlib.util
import pathlib
import sys
import tempfile

from fontTools.ttLib import TTFont
from fontTools.varLib.instancer import instantiateVariableFont
from fpdf import FPDF

PAGES = [
    (
        "en",
        "Rosewater Systems: Staff Handbook",
        [
            ("", "Edition 4, valid from 1 March 2026. Rosewater Systems makes irrigation controllers in Shiraz and Utrecht. This handbook says what you may expect from the company and what the company expects from you. Pages 1 and 2 are in English, pages 3 and 4 in Persian; each half covers subjects of its own, so please read both."),
            ("1. Annual leave", "Every member of staff has 26 working days of paid leave a year. Ask for leave in the staff portal at least 10 days in advance; for more than two weeks in a row, ask 30 days in advance. Your team lead answers within three working days, and no answer counts as a yes. Up to 9 unused days move into the next year and must be taken before the end of June."),
            ("2. Sick leave", "Tell your team lead before 9:30 on the first day of an illness. A doctor's certificate is needed from the third day on. Sick days are never taken off your annual leave, and an illness during your holiday gives you the days back."),
            ("3. Working from home", "You may work from home up to three days a week. Tuesday is the day on which everybody is at the office. The company pays 45 euros a month towards your internet connection and lends you a screen, a keyboard and a chair."),
        ],
    ),
    (
        "en",
        "Travel, equipment and training",
        [
            ("4. Business travel", "Trips of less than six hours are made by train. Book through the travel desk, which needs your passport number and a cost centre. Hotels may cost up to 140 euros a night, in capitals up to 180 euros. Hand in your receipts within 21 days of coming back; the money is paid with the next salary."),
            ("5. Equipment", "A laptop is replaced after four years. Report a lost or stolen device to the security desk, extension 4417, within one hour, at any time of day: the device is then locked from afar. Never connect a memory stick that you found or were given at a fair."),
            ("6. Training", "Every member of staff has a training budget of 1,200 euros and five days a year. Language courses in Persian, Dutch and English count. What you learned is told to your team in a talk of half an hour."),
            ("7. Probation and notice", "Probation lasts four months. During probation either side may end the contract with a notice of two weeks, afterwards with a notice of two months."),
        ],
    ),
    (
        "fa",
        "آیین‌نامهٔ داخلی شرکت گلاب‌سامانه",
        [
            ("", "این بخش به زبان فارسی نوشته شده است و موضوع‌هایی را دربر می‌گیرد که در بخش انگلیسی نیامده‌اند."),
            ("۸. ساعت کار", "ساعت کار شرکت از شنبه تا چهارشنبه از ۸ صبح تا ۱۶:۳۰ است. روزهای پنجشنبه دفتر شیراز از ساعت ۸ تا ۱۲ ظهر باز است و کار در این روز نوبتی است: هر کارمند در ماه فقط یک پنجشنبه کار می‌کند. جمعه‌ها تعطیل است."),
            ("۹. ناهار و استراحت", "زمان ناهار ۴۵ دقیقه است و جزو ساعت کار حساب می‌شود. ناهار در غذاخوری طبقهٔ دوم رایگان است. کسانی که رژیم غذایی ویژه دارند باید تا ساعت ۱۰ صبح به آشپزخانه خبر بدهند."),
            ("۱۰. اضافه‌کاری", "اضافه‌کاری فقط با اجازهٔ کتبی سرپرست انجام می‌شود. هر ساعت اضافه‌کاری با ضریب ۱٫۴ پرداخت می‌شود و در ماه از ۲۰ ساعت بیشتر نمی‌شود. کارمند می‌تواند به جای پول، مرخصی بگیرد."),
        ],
    ),
    (
        "fa",
        "بیمه، وام و ایمنی",
        [
            ("۱۱. بیمهٔ تکمیلی", "همهٔ کارکنان و خانواده‌شان از نخستین روز کار بیمهٔ تکمیلی درمان دارند. شرکت ۷۰ درصد حق بیمه را می‌پردازد. هزینهٔ دندان‌پزشکی تا سقف ۸۰ میلیون ریال در سال پوشش داده می‌شود."),
            ("۱۲. وام کارکنان", "پس از یک سال کار، هر کارمند می‌تواند وام بدون بهره تا سه برابر حقوق ماهانه بگیرد. بازپرداخت در ۱۸ قسط انجام می‌شود. درخواست وام در هفتهٔ نخست هر فصل به واحد مالی داده می‌شود."),
            ("۱۳. ایمنی کارگاه", "در کارگاه مونتاژ پوشیدن کفش ایمنی و عینک الزامی است. مانور آتش‌نشانی هر شش ماه یک بار برگزار می‌شود و محل گردهمایی، پارکینگ شمالی است. شمارهٔ تلفن اضطراری داخلی ۱۱۵ است."),
            ("۱۴. هدیه و تضاد منافع", "کارکنان نباید از فروشندگان هدیه‌ای با ارزش بیش از ۵۰ یورو بپذیرند. هر هدیه باید در دفتر هدایا ثبت شود."),
        ],
    ),
]


def fonts(package: str, folder: pathlib.Path) -> tuple[pathlib.Path, pathlib.Path]:
    """The regular and the bold face. A variable font is cut to two weights first: PDF knows no axes."""
    files = pathlib.Path(importlib.util.find_spec(package).submodule_search_locations[0]) / "files"
    static = sorted(files.glob("*-Regular.ttf")) + sorted(files.glob("*-Bold.ttf"))
    if len(static) == 2:
        return static[0], static[1]
    source = next(path for path in files.glob("*.ttf") if "Italic" not in path.name)
    made = []
    for weight in (400, 700):
        target = folder / f"{package}-{weight}.ttf"
        instantiateVariableFont(TTFont(source), {"wght": weight, "wdth": 100}).save(target)
        made.append(target)
    return made[0], made[1]


def main(target: str) -> None:
    pdf = FPDF(format="A4")
    pdf.set_creation_date(datetime.datetime(2026, 3, 1, tzinfo=datetime.timezone.utc))
    pdf.set_title("Rosewater Systems: Staff Handbook")
    pdf.set_author("DocuChat demo")
    pdf.set_margin(22)
    pdf.set_auto_page_break(True, 20)
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        for package, family in (("fontpkg_noto_sans", "en"), ("fontpkg_ibm_plex_sans_arabic", "fa")):
            regular, bold = fonts(package, folder)
            pdf.add_font(family, "", regular)
            pdf.add_font(family, "B", bold)
        for language, title, paragraphs in PAGES:
            pdf.add_page()
            rtl = language == "fa"
            pdf.set_text_shaping(True, direction="rtl" if rtl else "ltr", script="arab" if rtl else "latn")
            align = "R" if rtl else "L"
            pdf.set_font(language, "B", 18)
            pdf.multi_cell(0, 11, title, align=align, new_x="LMARGIN", new_y="NEXT")
            for heading, text in paragraphs:
                pdf.ln(4)
                if heading:
                    pdf.set_font(language, "B", 13)
                    pdf.multi_cell(0, 8, heading, align=align, new_x="LMARGIN", new_y="NEXT")
                pdf.set_font(language, "", 11)
                pdf.multi_cell(0, 7, text, align=align, new_x="LMARGIN", new_y="NEXT")
        pdf.output(target)


if __name__ == "__main__":
    main(sys.argv[1])
