"""``python -m clients.generator`` writes the types anew."""

from pathlib import Path

from clients.generator.files import write_files

FOLDER = Path(__file__).resolve().parents[1]


def main() -> None:
    for name, text in write_files().items():
        (FOLDER / name).write_text(text)


if __name__ == "__main__":
    main()
