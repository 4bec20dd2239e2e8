"""A gallery of generated digits, the same for the same seed. python examples/client/generate_gallery.py [URL]"""

import sys

from sluice_client import Client


def main(url: str = "http://127.0.0.1:3000") -> None:
    wanted = [str(digit) for digit in range(10)]
    with Client(url) as sluice:
        gallery = sluice.generate_as_picture(model="digits-gan", labels=wanted, seed=7)
        again = sluice.generate_as_picture(model="digits-gan", labels=wanted, seed=7)
        between = sluice.generate(
            model="digits-vae", count=6, labels=["8"], interpolate={"seeds": [1, 2]}, output_format="picture"
        )
    print(f"Ten digits of seed 7, in one picture: {gallery.save('gallery.png')}")
    print(f"The same seed gives the same bytes: {gallery == again}")
    for i, picture in enumerate(between.pictures):
        picture.save(f"between-{i}.png")
    last = len(between.pictures) - 1
    print(f"From one eight to another (seeds {between.seeds}): between-0.png to between-{last}.png")


if __name__ == "__main__":
    main(*sys.argv[1:])
