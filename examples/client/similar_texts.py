"""Which texts are in the same language? Vectors and their similarity. python examples/client/similar_texts.py [URL]"""

import sys

from sluice_client import Client

TEXTS = ["Friday, March 13, 2026", "vendredi 13 mars 2026", "viernes, 13 de marzo de 2026", "Freitag, 13. März 2026"]
QUESTIONS = ["half past three in the afternoon", "trois heures et demie", "halb vier am Nachmittag"]


def main(url: str = "http://127.0.0.1:3000") -> None:
    with Client(url) as sluice:
        answer = sluice.embed(QUESTIONS, model="language-classifier", compare=TEXTS, encoding="base64")
    print(f"Each text is a vector of {len(answer.predictions[0].embedding)} numbers.")
    for question, prediction in zip(QUESTIONS, answer.predictions, strict=True):
        similarities = [each.similarity or 0.0 for each in prediction.comparisons or []]
        best = max(range(len(TEXTS)), key=similarities.__getitem__)
        print(f"\n{question!r} is most like {TEXTS[best]!r}:")
        for text, similarity in sorted(zip(TEXTS, similarities, strict=True), key=lambda pair: -pair[1]):
            print(f"  {similarity:+.2f}  {text}")


if __name__ == "__main__":
    main(*sys.argv[1:])
