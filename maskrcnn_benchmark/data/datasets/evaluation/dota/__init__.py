"""Evaluation by DOTA's rules."""

from .dota_eval import dota_evaluation, to_source_frame

__all__ = ["dota_evaluation", "to_source_frame"]
