"""Map the root folders models/, inference/, studies/ and datasets/ to the packages `jensen.<folder>`."""

from setuptools import find_packages, setup

ROOTS = ("models", "inference", "studies", "datasets")

setup(
    packages=[f"jensen.{package}" for root in ROOTS for package in find_packages(include=[root, f"{root}.*"])],
    package_dir={f"jensen.{root}": root for root in ROOTS},
)
