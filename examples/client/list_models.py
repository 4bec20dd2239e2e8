"""What does this server offer, and how good is it? python examples/client/list_models.py [URL]"""

import sys

from sluice_client import Client


def main(url: str = "http://127.0.0.1:3000") -> None:
    with Client(url) as sluice:
        cards = sluice.models()
    for card in sorted(cards, key=lambda card: (card.task or "", card.name)):
        state = f"version {card.serving}" if card.ready else f"does not serve: {card.reason}"
        print(f"{card.name} ({card.task}, {state})")
        print(f"    {card.description}")
        if card.quality:
            reached = ", ".join(f"{name} {card.quality.metrics[name]:.3g}" for name in card.quality.bar)
            print(f"    quality on {card.quality.rows} rows: {reached}")
        if card.batching:
            print(f"    batches of up to {card.batching.max_rows} rows; bits: {card.batching.bits}")


if __name__ == "__main__":
    main(*sys.argv[1:])
