"""`avsr train`: hands its words to LightningCLI."""

import argparse


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Everything after `train` is Lightning's."""
    parser.add_argument(
        "arguments",
        nargs=argparse.REMAINDER,
        metavar="fit|validate|test|predict -c RECIPE.yaml ...",
        help="a subcommand of LightningCLI with its options; try `avsr train fit --help`",
    )


def run(args: argparse.Namespace) -> int:
    """Train, validate, test or predict."""
    from avsr.train.app import main

    return main(args.arguments)
