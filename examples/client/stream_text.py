"""Translate dates into German, and see the text grow. python examples/client/stream_text.py [URL]"""

import sys

from sluice_client import Client
from sluice_client.answers import TextEvent

DATES = ["Saturday, December 31, 2022", "Friday, March 13, 2026"]


def main(url: str = "http://127.0.0.1:3000") -> None:
    with Client(url) as sluice:
        for date in DATES:
            print(date)
            stream = sluice.predict_sequence_as_stream(date, model="date-translator")
            for event in stream:
                if isinstance(event, TextEvent):  # a model that forecasts numbers has other events
                    print(f"\r  {event.text}", end="", flush=True)
            [text] = stream.answer.texts
            print(f"\r  {text.text}  (probability {text.probability:.3f}, {text.tokens} tokens)")


if __name__ == "__main__":
    main(*sys.argv[1:])
