"""A laboratory for one question: how does a pre-trained model scale?"""
