"""The starter corpus: pairs of sentences in grades of complexity, and documents to pre-train on, all generated.

Nothing is downloaded and nothing is drawn but from the seed, so the same arguments give the same bytes anywhere.
"""

from pipeline.data.synthetic.generator import GRADES, MOST, documents, pairs

__all__ = ["GRADES", "MOST", "documents", "pairs"]
