"""Step 1: remove weights, then train the others further. A small CNN on handwritten digits.

Shows five ways to prune a trained net: how much accuracy each costs at once, how much returns when the other weights
train further under the same masks, and the artifact's bytes. Zeros make the file smaller but calls no faster; whole
channels that are removed make the file smaller and calls faster.

    python examples/compress/prune_and_retrain.py [--images mnist] [--rows 600]
"""

import torch
from images import TRAINING, folds, plain, read_arguments, tried

PRUNES = {
    "the 50 % smallest weights": "prune(amount=0.5)",
    "the 80 % smallest weights": "prune(amount=0.8)",
    "every weight below 0.05": "prune(below=0.05)",
    "2 of every 4 neighbours": "prune(pattern='2:4')",
    "half of the channels": "prune_structured(amount=0.5, units=channels)",
}


def main(images: str, rows: int) -> None:
    """Print a row for each way of pruning."""
    nets = folds(images, rows)
    size, before, control = plain(nets)
    print(f"{'removed':28} {'at once, %':>12} {'retrained, %':>14} {'loss':>8} {'bytes':>9} {'smaller':>9}")
    print(f"{'nothing (float)':28} {before:>12.2f} {control:>14.2f} {'':>8} {size:>9,}")
    for name, step in PRUNES.items():
        once, after = tried(nets, step), tried(nets, f"{step} -> {TRAINING}")
        print(
            f"{name:28} {once.accuracy:>12.2f} {after.accuracy:>14.2f} {control - after.accuracy:>8.2f} "
            f"{after.bytes:>9,.0f} {size / after.bytes:>8.1f}×"
        )
    print("\nloss: in accuracy, compared with the float net after as much further training")


if __name__ == "__main__":
    torch.set_num_threads(1)
    arguments = read_arguments(__doc__)
    main(arguments.images, arguments.rows)
